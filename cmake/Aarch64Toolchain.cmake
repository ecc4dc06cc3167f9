# Cross-compiles for aarch64 on another Debian machine, with tests run by qemu-user. The C and C++ libraries are those of
# the cross compiler's packages; all others lie in build/aarch64-libraries (scripts/fetch_aarch64_libraries.sh). Headers
# that are the same for every CPU may come from this machine's /usr/include, which Debian's cross compilers search last.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)

cmake_path(SET tern_libraries NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-libraries")
set(CMAKE_FIND_ROOT_PATH ${tern_libraries})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${tern_libraries}/usr/lib/aarch64-linux-gnu/pkgconfig:${tern_libraries}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${tern_libraries})
# OpenSSL's headers that differ between CPUs.
set(CMAKE_CXX_STANDARD_INCLUDE_DIRECTORIES ${tern_libraries}/usr/include/aarch64-linux-gnu)
