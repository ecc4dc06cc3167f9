/* The smallest adapter: its engine counts. Shows that an adapter is a folder, and that tern needs no change for it. */
#include <counting.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char** argv) {
  const char *prompt = "", *out = "";
  int n = 1, step = 1, i;
  for (i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--facts") == 0) {
      puts("{\"name\": \"counting 1\", \"arithmetic\": null, \"level\": \"tokens\",\n"
           " \"settings\": {\"step\": {\"from\": 1, \"to\": 9}}}");
      return 0;
    }
    if (i + 1 == argc) return 2;
    if (strcmp(argv[i], "--prompt") == 0) prompt = argv[i + 1];
    if (strcmp(argv[i], "--out") == 0) out = argv[i + 1];
    if (strcmp(argv[i], "--max-tokens") == 0) n = atoi(argv[i + 1]);
    if (strncmp(argv[i + 1], "step=", 5) == 0) step = atoi(argv[i + 1] + 5);
    ++i;
  }
  char path[4096];
  snprintf(path, sizeof path, "%s/result.json", out);
  FILE* file = fopen(path, "w");
  if (file == NULL) return 3;
  fprintf(file, "{\"engine\": \"counting 1\", \"prompt\": \"%s\", \"max_tokens\": %d, \"prompt_tokens\": [], ", prompt, n);
  fprintf(file, "\"generated_tokens\": [");
  for (i = 0; i < n; ++i) fprintf(file, "%s%d", i > 0 ? ", " : "", counting_from() + i * step);
  fprintf(file, "], \"timing\": {}}\n");
  if (fclose(file) != 0) return 3;
  /* One tensor, the first count as a float. Its hash stands for one: the test does not compare it. */
  snprintf(path, sizeof path, "%s/trace.jsonl", out);
  file = fopen(path, "w");
  if (file == NULL) return 3;
  fprintf(file, "{\"name\": \"count\", \"seq\": 0, \"layer\": -1, \"stage\": \"count\", \"shape\": [1, 1], ");
  fprintf(file, "\"dtype\": \"F32\", \"num_elements\": 1, \"rms\": %d, \"blake3\": \"", counting_from());
  for (i = 0; i < 64; ++i) fputc('0', file);
  fprintf(file, "\"}\n");
  return fclose(file) == 0 ? 0 : 3;
}
