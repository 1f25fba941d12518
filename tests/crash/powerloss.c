/* A disk that loses its power: what was written since the last sync of a file is not there afterwards.
 *
 * Preloaded into a process. After each fsync and fdatasync of a file below POWERLOSS_PREFIX its content, which is durable
 * now, is copied to POWERLOSS_SHADOW, under its path with '%' for '/'. When the process was killed, the test puts the
 * copies in the files' places. Stricter than a real disk, which may have kept more. Names are taken to be durable when
 * their file was synced once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void keep(int fd) {
  const char *prefix = getenv("POWERLOSS_PREFIX"), *shadow = getenv("POWERLOSS_SHADOW");
  char link[64], path[PATH_MAX], draft[2 * PATH_MAX], place[2 * PATH_MAX];
  static char block[1 << 16];
  static int lock;
  struct stat found;
  ssize_t length, got;
  off_t at = 0;
  if (!prefix || !shadow || fstat(fd, &found) || !S_ISREG(found.st_mode)) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink(link, path, sizeof path - 1);
  if (length < 0) abort();
  path[length] = 0;
  size_t skip = strlen(prefix);
  if (strncmp(path, prefix, skip) || path[skip] != '/') return;
  for (char *each = path + skip + 1; *each; each++)
    if (*each == '/') *each = '%';
  snprintf(place, sizeof place, "%s/%s", shadow, path + skip + 1);
  snprintf(draft, sizeof draft, "%s/.draft", shadow);
  while (__sync_lock_test_and_set(&lock, 1)) usleep(100);
  /* Read through the same descriptor: closing another one would give up the locks that SQLite has on the file. */
  int in = fd, out = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) in = open(link, O_RDONLY | O_CLOEXEC);
  if (in < 0 || out < 0) abort();
  while ((got = pread(in, block, sizeof block, at)) > 0) {
    if (write(out, block, (size_t)got) != got) abort();
    at += got;
  }
  if (in != fd) close(in);
  close(out);
  if (got < 0 || rename(draft, place)) abort();
  __sync_lock_release(&lock);
}

int fsync(int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  int answer = real(fd), kept = errno;
  if (!answer) keep(fd);
  errno = kept;
  return answer;
}

int fdatasync(int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  int answer = real(fd), kept = errno;
  if (!answer) keep(fd);
  errno = kept;
  return answer;
}
