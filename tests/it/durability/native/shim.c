/* Stands between a process and its state (the segments of its journal, mostly), and fails as the file ORDER says:
 *
 *   sync      every fdatasync fails with EIO, and what was not synced before is gone
 *   sync-once the next one does
 *   write     every write fails with EIO
 *   short     every write takes half of the bytes
 *   state     every write of the derived state fails with ENOSPC
 *   oplog     every fdatasync of the operations log fails with EIO, and what was not synced before is gone
 *   slow      every fdatasync takes 100 ms longer, and adds a byte to ORDER.slow
 *
 * Without that file all is as usual. Every fdatasync that fails adds a byte to ORDER.failed, every write that
 * was cut short one to ORDER.short. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 65536
static char ours[FILES];
static char derived[FILES];
static char logged[FILES];
static off_t synced[FILES];

static int is_ours(int file) { return file >= 0 && file < FILES && ours[file]; }
static int is_logged(int file) { return file >= 0 && file < FILES && logged[file]; }

static const char *order_file(void) { return getenv("DISK_ORDER"); }

static int ordered(const char *what) {
    char text[32] = {0};
    const char *path = order_file();
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    if (!fgets(text, sizeof text, file)) text[0] = 0;
    fclose(file);
    text[strcspn(text, "\n")] = 0;
    return strcmp(text, what) == 0;
}

static void count(const char *suffix) {
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", order_file(), suffix);
    FILE *file = fopen(path, "a");
    if (file) {
        fputc('x', file);
        fclose(file);
    }
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    int file = real(path, flags, mode);
    if (file >= 0 && file < FILES) {
        const char *end = strrchr(path, '.');
        ours[file] = strstr(path, "/journal/") && end && strcmp(end, ".seg") == 0 && (flags & O_ACCMODE) != O_RDONLY;
        const char *name = strrchr(path, '/');
        derived[file] = strstr(path, "/derived/") && name && strcmp(name, "/db") == 0;
        logged[file] = strstr(path, "/oplog/") && end && strcmp(end, ".ndjson") == 0 && (flags & O_ACCMODE) != O_RDONLY;
        struct stat found;
        synced[file] = (ours[file] || logged[file]) && fstat(file, &found) == 0 ? found.st_size : 0;
    }
    return file;
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    int once = is_ours(file) && ordered("sync-once");
    if (once || (is_ours(file) && ordered("sync")) || (is_logged(file) && ordered("oplog"))) {
        if (once) unlink(order_file());
        count("failed");
        /* The kernel marks pages clean whose writing failed: they are gone. */
        if (ftruncate(file, synced[file]) != 0) abort();
        errno = EIO;
        return -1;
    }
    if (is_ours(file) && ordered("slow")) {
        usleep(100000);
        count("slow");
    }
    int done = real(file);
    struct stat found;
    if ((is_ours(file) || is_logged(file)) && done == 0 && fstat(file, &found) == 0) synced[file] = found.st_size;
    return done;
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    if (is_ours(file) && ordered("write")) {
        errno = EIO;
        return -1;
    }
    if (file >= 0 && file < FILES && derived[file] && ordered("state")) {
        count("state");
        errno = ENOSPC;
        return -1;
    }
    if (is_ours(file) && length > 1 && ordered("short")) {
        count("short");
        length /= 2;
    }
    return real(file, bytes, length, offset);
}
