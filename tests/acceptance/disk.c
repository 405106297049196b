/* A disk that fails on cue, for LD_PRELOAD: while the file DISK_FAILS exists, its first letter says how.
 *
 *   f   writing answers ENOSPC, as a full disk does          s   fsync and fdatasync answer EIO
 *
 * Only files whose path begins with DISK_BELOW are meant: the database, not sockets and logs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int file, char how) {
    const char *flag = getenv("DISK_FAILS"), *below = getenv("DISK_BELOW");
    char path[64], target[4096], letter = 0;
    if (!flag || !below)
        return 0;
    int told = open(flag, O_RDONLY | O_CLOEXEC);
    if (told < 0)
        return 0;
    if (read(told, &letter, 1) != 1)
        letter = 0;
    close(told);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    ssize_t bytes = readlink(path, target, sizeof target - 1);
    if (letter != how || bytes < 0)
        return 0;
    target[bytes] = 0;
    return strncmp(target, below, strlen(below)) == 0;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *data, size_t bytes) {
    REAL(write);
    if (fails(file, 'f')) {
        errno = ENOSPC;
        return -1;
    }
    return real(file, data, bytes);
}

ssize_t pwrite(int file, const void *data, size_t bytes, off_t at) {
    REAL(pwrite);
    if (fails(file, 'f')) {
        errno = ENOSPC;
        return -1;
    }
    return real(file, data, bytes, at);
}

ssize_t pwrite64(int file, const void *data, size_t bytes, off64_t at) {
    REAL(pwrite64);
    if (fails(file, 'f')) {
        errno = ENOSPC;
        return -1;
    }
    return real(file, data, bytes, at);
}

int fsync(int file) {
    REAL(fsync);
    if (fails(file, 's')) {
        errno = EIO;
        return -1;
    }
    return real(file);
}

int fdatasync(int file) {
    REAL(fdatasync);
    if (fails(file, 's')) {
        errno = EIO;
        return -1;
    }
    return real(file);
}
