/* Faults on command, for processes started with LD_PRELOAD: what the C library is asked about files whose path contains
   `part` fails, or takes long; the wall clock can be moved. The orders lie in a small file that is mapped, so that the
   test changes them while the program runs. See shim.py, which writes the same struct. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
    int32_t read_errno, write_errno, open_errno, slow_ms;
    int64_t clock_seconds;
    int64_t injected;
    char part[472];
};

static volatile struct orders *orders;
static struct orders none;

static volatile struct orders *look(void) {
    if (!orders) {
        const char *path = getenv("INDEXD_FAULTS");
        int fd = path ? (int)((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, O_RDWR | O_CLOEXEC) : -1;
        void *place = fd < 0 ? MAP_FAILED : mmap(0, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        orders = place == MAP_FAILED ? &none : place;
        if (fd >= 0) close(fd);
    }
    return orders;
}

static int meant(const char *path) { return path && strstr(path, (const char *)look()->part) != 0; }

static int meant_fd(int fd) {
    char link[40], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return meant(path);
}

static int fails(int error, int hit) {
    volatile struct orders *now = look();
    if (!hit) return 0;
    if (now->slow_ms) {
        struct timespec rest = {now->slow_ms / 1000, now->slow_ms % 1000 * 1000000L};
        nanosleep(&rest, 0);
    }
    if (!error) return 0;
    __atomic_add_fetch(&now->injected, 1, __ATOMIC_RELAXED);
    errno = error;
    return 1;
}

#define WANTED(kind) (look()->part[0] && (look()->kind || look()->slow_ms))
#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define FD_CALL(result, name, kind, arguments, ...)                            \
    result name arguments {                                                    \
        REAL(name);                                                            \
        if (WANTED(kind) && fails(look()->kind, meant_fd(fd))) return -1;      \
        return real(__VA_ARGS__);                                              \
    }

FD_CALL(ssize_t, read, read_errno, (int fd, void *to, size_t n), fd, to, n)
FD_CALL(ssize_t, pread, read_errno, (int fd, void *to, size_t n, off_t at), fd, to, n, at)
FD_CALL(ssize_t, pread64, read_errno, (int fd, void *to, size_t n, off64_t at), fd, to, n, at)
FD_CALL(ssize_t, write, write_errno, (int fd, const void *from, size_t n), fd, from, n)
FD_CALL(ssize_t, pwrite, write_errno, (int fd, const void *from, size_t n, off_t at), fd, from, n, at)
FD_CALL(ssize_t, pwrite64, write_errno, (int fd, const void *from, size_t n, off64_t at), fd, from, n, at)
FD_CALL(int, fsync, write_errno, (int fd), fd)
FD_CALL(int, fdatasync, write_errno, (int fd), fd)

static int open_fails(const char *path, int flags) {
    int error = look()->open_errno;
    if (!error && (flags & O_CREAT)) error = look()->write_errno;
    return look()->part[0] && (error || look()->slow_ms) && fails(error, meant(path));
}

static mode_t mode_of(int flags, va_list *more) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(*more, mode_t) : 0;
}

#define OPEN_CALL(name)                                                        \
    int name(const char *path, int flags, ...) {                               \
        REAL(name);                          \
        va_list more; va_start(more, flags);                                   \
        mode_t mode = mode_of(flags, &more); va_end(more);                     \
        return open_fails(path, flags) ? -1 : real(path, flags, mode);         \
    }
OPEN_CALL(open)
OPEN_CALL(open64)

#define OPENAT_CALL(name)                                                      \
    int name(int at, const char *path, int flags, ...) {                       \
        REAL(name);                     \
        va_list more; va_start(more, flags);                                   \
        mode_t mode = mode_of(flags, &more); va_end(more);                     \
        return open_fails(path, flags) ? -1 : real(at, path, flags, mode);     \
    }
OPENAT_CALL(openat)
OPENAT_CALL(openat64)

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += look()->clock_seconds;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    REAL(gettimeofday);
    int result = real(now, zone);
    if (!result) now->tv_sec += look()->clock_seconds;
    return result;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
