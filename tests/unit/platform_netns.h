/*
 * platform_netns.h - a network namespace of the test's own, where routes and tables may be changed; needs root, else its tests are skipped
 */
#ifndef TESTS_PLATFORM_NETNS_H
#define TESTS_PLATFORM_NETNS_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bool netns_is_ours;

/* Once, for all tests of the program. */
static inline int netns_enter(void **state)
{
    netns_is_ours = geteuid() == 0 && unshare(CLONE_NEWNET) == 0;
    return 0;
}

static inline void netns_needed(void)
{
    if (!netns_is_ours)
        skip();
}

/* Runs a command line; its status. */
static inline int sh(const char *line)
{
    return system(line);
}

/* What a command prints, at most size - 1 bytes. */
static inline char *sh_says(const char *line, char *out, size_t size)
{
    FILE *f = popen(line, "r");
    size_t n = f ? fread(out, 1, size - 1, f) : 0;

    out[n] = 0;
    if (f)
        pclose(f);
    return out;
}

#endif
