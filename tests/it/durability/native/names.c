/* A resolver that fails: names below .localhost are there as long as the file in NAMES_RESOLVE is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*resolve)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    static const char below[] = ".localhost";
    resolve real = (resolve)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *there = getenv("NAMES_RESOLVE");
    size_t length = node ? strlen(node) : 0, end = sizeof below - 1;
    if (there && length > end && strcmp(node + length - end, below) == 0) {
        if (access(there, F_OK) != 0)
            return EAI_AGAIN;
        node = "127.0.0.1";
    }
    return real(node, service, hints, found);
}
