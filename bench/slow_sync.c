/* A library to preload into a hub. It delays every sync by SLOW_SYNC_US microseconds, as an SD card does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int delayed_sync(const char *name, int fd)
{
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *us = getenv("SLOW_SYNC_US");
    if (us)
        usleep((useconds_t)atoi(us));
    return sync(fd);
}

int fsync(int fd) { return delayed_sync("fsync", fd); }
int fdatasync(int fd) { return delayed_sync("fdatasync", fd); }
