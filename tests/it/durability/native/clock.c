/* Moves the time of day by the seconds in the file CLOCK_OFFSET, a number of 64 bits that may change at any moment. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void look(void) {
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) offset = at;
    close(file);
}

int clock_gettime(clockid_t which, struct timespec *time) {
    int done = (int)syscall(SYS_clock_gettime, which, time);
    if (done == 0 && which == CLOCK_REALTIME && offset) time->tv_sec += *offset;
    return done;
}
