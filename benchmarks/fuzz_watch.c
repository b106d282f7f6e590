/* Preloaded into a process and those that it starts, it writes down which files are opened, changed or run, and which
   addresses are connected to, by any library: a line with a letter (r, w, x, n) and an absolute path to the file that
   the variable FUZZ_WATCH names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void note(char what, int folder, const char *path) {
    const char *log = getenv("FUZZ_WATCH");
    if (!log || !path)
        return;
    int before = errno;
    char line[3 * 4096], base[4096] = "";
    if (path[0] != '/' && what != 'n') {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = folder == AT_FDCWD ? syscall(SYS_getcwd, base, sizeof base - 1) - 1
                                            : readlink(link, base, sizeof base - 2);
        length = length < 0 ? 0 : length;
        base[length] = '/', base[length + 1] = 0;
    }
    int size = snprintf(line, sizeof line, "%c %s%s\n", what, base, path);
    size = size < (int)sizeof line ? size : (int)sizeof line - 1;
    int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0) {
        syscall(SYS_write, file, line, size);
        syscall(SYS_close, file);
    }
    errno = before;
}

static char kind(int flags) { return flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) ? 'w' : 'r'; }
static char mode_kind(const char *mode) { return strpbrk(mode, "wa+") ? 'w' : 'r'; }

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(name); \
        va_list more; va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        note(kind(flags), AT_FDCWD, path); \
        return next(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        NEXT(name); \
        va_list more; va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        note(kind(flags), folder, path); \
        return next(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        NEXT(name); \
        note(mode_kind(mode), AT_FDCWD, path); \
        return next(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define CHANGE(name, declared, given) \
    int name declared { \
        NEXT(name); \
        note('w', AT_FDCWD, path); \
        return next given; \
    }
CHANGE(creat, (const char *path, mode_t mode), (path, mode))
CHANGE(unlink, (const char *path), (path))
CHANGE(rmdir, (const char *path), (path))
CHANGE(mkdir, (const char *path, mode_t mode), (path, mode))
CHANGE(truncate, (const char *path, off_t size), (path, size))
CHANGE(chmod, (const char *path, mode_t mode), (path, mode))
CHANGE(rename, (const char *from, const char *path), (from, path))
CHANGE(link, (const char *from, const char *path), (from, path))
CHANGE(symlink, (const char *to, const char *path), (to, path))

#define RUN(name, declared, given) \
    int name declared { \
        NEXT(name); \
        note('x', AT_FDCWD, path); \
        return next given; \
    }
RUN(execve, (const char *path, char *const words[], char *const variables[]), (path, words, variables))
RUN(execv, (const char *path, char *const words[]), (path, words))
RUN(execvp, (const char *path, char *const words[]), (path, words))

int system(const char *command) {
    NEXT(system);
    note('x', AT_FDCWD, command);
    return next(command);
}

int connect(int file, const struct sockaddr *address, socklen_t size) {
    NEXT(connect);
    note('n', AT_FDCWD, address->sa_family == AF_UNIX ? "socket" : "network");
    return next(file, address, size);
}
