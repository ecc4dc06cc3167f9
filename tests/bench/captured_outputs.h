// What benchmark programs really printed, stdout and stderr together as compare_peers gets them: BitNet b1.58 2B4T's
// shape with random weights, 2 threads, an AMD EPYC. File names are shortened.
#pragma once

namespace tern::bench::captured {

// bitnet.cpp, llama-bench -p 128 -n 32 -r 2 -o json
inline constexpr const char* kBitnetCpp = R"json([
  {
    "build_commit": "6d113cd",
    "build_number": 0,
    "cuda": false,
    "vulkan": false,
    "kompute": false,
    "metal": false,
    "sycl": false,
    "rpc": "0",
    "gpu_blas": false,
    "blas": false,
    "cpu_info": "AMD EPYC",
    "gpu_info": "",
    "model_filename": "2b4t-i2_s.gguf",
    "model_type": "bitnet-b1.58 2B I2_S - 2 bpw ternary",
    "model_size": 1836120640,
    "model_n_params": 2741155840,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_threads": 2,
    "cpu_mask": "0x0",
    "cpu_strict": false,
    "poll": 50,
    "type_k": "f16",
    "type_v": "f16",
    "n_gpu_layers": 99,
    "split_mode": "layer",
    "main_gpu": 0,
    "no_kv_offload": false,
    "flash_attn": false,
    "tensor_split": "0.00",
    "use_mmap": true,
    "embeddings": false,
    "n_prompt": 128,
    "n_gen": 0,
    "test_time": "2026-11-23T06:11:26Z",
    "avg_ns": 1086187548,
    "stddev_ns": 2364132,
    "avg_ts": 117.843648,
    "stddev_ts": 0.256442,
    "samples_ns": [ 1084516179, 1087858918 ],
    "samples_ts": [ 118.025, 117.662 ]
  },
  {
    "build_commit": "6d113cd",
    "build_number": 0,
    "cuda": false,
    "vulkan": false,
    "kompute": false,
    "metal": false,
    "sycl": false,
    "rpc": "0",
    "gpu_blas": false,
    "blas": false,
    "cpu_info": "AMD EPYC",
    "gpu_info": "",
    "model_filename": "2b4t-i2_s.gguf",
    "model_type": "bitnet-b1.58 2B I2_S - 2 bpw ternary",
    "model_size": 1836120640,
    "model_n_params": 2741155840,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_threads": 2,
    "cpu_mask": "0x0",
    "cpu_strict": false,
    "poll": 50,
    "type_k": "f16",
    "type_v": "f16",
    "n_gpu_layers": 99,
    "split_mode": "layer",
    "main_gpu": 0,
    "no_kv_offload": false,
    "flash_attn": false,
    "tensor_split": "0.00",
    "use_mmap": true,
    "embeddings": false,
    "n_prompt": 0,
    "n_gen": 32,
    "test_time": "2026-11-23T06:11:29Z",
    "avg_ns": 1112443465,
    "stddev_ns": 9787055,
    "avg_ts": 28.766620,
    "stddev_ts": 0.253083,
    "samples_ns": [ 1119363958, 1105522972 ],
    "samples_ts": [ 28.5877, 28.9456 ]
  }
]
)json";

// ik_llama.cpp, llama-bench -p 0 -n 0 -gp 64,8 -r 1 -o json
inline constexpr const char* kIkLlamaCpp = R"json([
  {
    "build_commit": "8337e4c",
    "build_number": 0,
    "cuda": false,
    "vulkan": false,
    "metal": false,
    "sycl": false,
    "rpc": "0",
    "gpu_blas": false,
    "blas": false,
    "cpu_info": "AMD EPYC",
    "gpu_info": "",
    "model_filename": "2b4t-iq2_bn.gguf",
    "model_type": "bitnet-b1.58 2B IQ2_BN - 2.00 bpw Bitnet",
    "model_size": 1838848000,
    "model_n_params": 2741155840,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_threads": 2,
    "type_k": "f16",
    "type_v": "f16",
    "n_gpu_layers": 999,
    "split_mode": "layer",
    "main_gpu": 0,
    "no_kv_offload": false,
    "flash_attn": true,
    "mla_attn": 3,
    "attn_max_batch": 0,
    "ser": "-1,0",
    "reuse": true,
    "tensor_split": "0.00",
    "use_mmap": true,
    "embeddings": false,
    "repack": false,
    "mqkv": false,
    "muge": false,
    "defer_experts": false,
    "fused_moe": true,
    "grouped_er": false,
    "no_fused_up_gate": false,
    "use_thp": false,
    "no_ooae": false,
    "rcache": false,
    "sas": false,
    "max_gpu": 0,
    "cuda_params": "",
    "override_tensor": "",
    "n_prompt": 64,
    "n_gen": 8,
    "test_time": "2026-11-23T06:33:16Z",
    "avg_ns": 353504713,
    "stddev_ns": 0,
    "avg_ts": 22.630533,
    "stddev_ts": 0.000000,
    "test": "tg8@pp64",
    "samples_ns": [ 353504713 ],
    "samples_ts": [ 22.6305 ]
  }
]
)json";

// llama.cpp of 2026, llama-bench -p 128 -n 32 -r 2 -o json
inline constexpr const char* kLlamaCpp = R"json(load_backend: loaded CPU backend from /opt/llama.cpp/libggml-cpu-zen4.so
[
  {
    "build_commit": "0ad4a86",
    "build_number": 1,
    "cpu_info": "AMD EPYC",
    "gpu_info": "",
    "backends": "CPU",
    "model_filename": "2b4t-tq2_0.gguf",
    "model_type": "bitnet ?B TQ2_0 - 2.06 bpw ternary",
    "model_size": 1195724800,
    "model_n_params": 2412820480,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_threads": 2,
    "cpu_mask": "0x0",
    "cpu_strict": false,
    "poll": 50,
    "type_k": "f16",
    "type_v": "f16",
    "n_gpu_layers": -1,
    "n_cpu_moe": 0,
    "split_mode": "layer",
    "main_gpu": 0,
    "no_kv_offload": false,
    "flash_attn": -1,
    "devices": "auto",
    "tensor_split": "0.00",
    "tensor_buft_overrides": "none",
    "load_mode": "auto",
    "lazy_mode": "auto",
    "embeddings": false,
    "no_op_offload": 0,
    "no_host": false,
    "fit_target": 0,
    "fit_min_ctx": 0,
    "n_prompt": 128,
    "n_gen": 0,
    "n_depth": 0,
    "test_time": "2026-11-23T06:11:37Z",
    "avg_ns": 1944725645,
    "stddev_ns": 608637,
    "avg_ts": 65.819056,
    "stddev_ts": 0.020491,
    "samples_ns": [ 1945153752, 1944297539 ],
    "samples_ts": [ 65.8046, 65.8335 ]
  },
  {
    "build_commit": "0ad4a86",
    "build_number": 1,
    "cpu_info": "AMD EPYC",
    "gpu_info": "",
    "backends": "CPU",
    "model_filename": "2b4t-tq2_0.gguf",
    "model_type": "bitnet ?B TQ2_0 - 2.06 bpw ternary",
    "model_size": 1195724800,
    "model_n_params": 2412820480,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_threads": 2,
    "cpu_mask": "0x0",
    "cpu_strict": false,
    "poll": 50,
    "type_k": "f16",
    "type_v": "f16",
    "n_gpu_layers": -1,
    "n_cpu_moe": 0,
    "split_mode": "layer",
    "main_gpu": 0,
    "no_kv_offload": false,
    "flash_attn": -1,
    "devices": "auto",
    "tensor_split": "0.00",
    "tensor_buft_overrides": "none",
    "load_mode": "auto",
    "lazy_mode": "auto",
    "embeddings": false,
    "no_op_offload": 0,
    "no_host": false,
    "fit_target": 0,
    "fit_min_ctx": 0,
    "n_prompt": 0,
    "n_gen": 32,
    "n_depth": 0,
    "test_time": "2026-11-23T06:11:44Z",
    "avg_ns": 1554097349,
    "stddev_ns": 8191028,
    "avg_ts": 20.591017,
    "stddev_ts": 0.108525,
    "samples_ns": [ 1548305552, 1559889147 ],
    "samples_ts": [ 20.6678, 20.5143 ]
  }
]
)json";

// bitnet.cpp, llama-batched-bench -npp 64 -ntg 8 -npl 1 --output-format jsonl: the end of it
inline constexpr const char* kBatchedBench = R"json(llama_new_context_with_model: graph splits = 1
{"n_kv_max": 96, "n_batch": 2048, "n_ubatch": 512, "flash_attn": 0, "is_pp_shared": 0, "n_gpu_layers": -1, "n_threads": 2, "n_threads_batch": 2, "pp": 64, "tg": 8, "pl": 1, "n_kv": 72, "t_pp": 0.707650, "speed_pp": 90.440186, "t_tg": 0.292579, "speed_tg": 27.343042, "t": 1.000229, "speed": 71.983513}

llama_perf_context_print:        load time =     609.06 ms
llama_perf_context_print: prompt eval time =    1002.21 ms /    80 tokens (   12.53 ms per token,    79.82 tokens per second)
llama_perf_context_print:        eval time =     292.56 ms /     8 runs   (   36.57 ms per token,    27.34 tokens per second)
llama_perf_context_print:       total time =    1609.36 ms /    88 tokens


)json";

// What bitnet.cpp's utils/test_gemm_kernel.sh compiles, with -n 2048 -r 128 -c 2048 -i 50: the end of it
inline constexpr const char* kGemmProgram = R"(Running 50 benchmark iterations...

================================================================================
Benchmark Results:
================================================================================
  Average time  : 3.489 ms
  Min time      : 3.414 ms
  Max time      : 3.618 ms
  Std dev       : 0.059 ms

Performance:
  GFLOPS        : 307.75
  Throughput    : 586980.23 tokens/s
  Latency/token : 1.704 us
================================================================================
)";

}  // namespace tern::bench::captured
