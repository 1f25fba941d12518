/* Makes the database of a running process unwritable, as a file system that was remounted read-only is: while the file
   that READ_ONLY_WHILE names is there, no octet is written to a file whose name begins with keystead.db. Loaded with
   LD_PRELOAD by tests/controlplane/api/test_read_only.py. SQLite writes with pwrite alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int refused(int fd) {
  char link[32], path[4096], *flag = getenv("READ_ONLY_WHILE"), *name;
  ssize_t length;
  if (!flag || access(flag, F_OK)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  name = strrchr(path, '/');
  return name && !strncmp(name + 1, "keystead.db", 11);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
  ssize_t (*real)(int, const void *, size_t, off_t) =
      (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  if (refused(fd)) {
    errno = EROFS;
    return -1;
  }
  return real(fd, data, length, at);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) { return pwrite(fd, data, length, (off_t)at); }
