/*
 * data.h - real files beside the repository: $SHUNT_DATA, else ../shared/data. A program that finds none ends with 77 (skipped).
 */
#ifndef UNIT_DATA_H
#define UNIT_DATA_H

#include <stdio.h>
#include <stdlib.h>

static inline const char *data_dir(void)
{
    const char *dir = getenv("SHUNT_DATA");

    return dir ? dir : "../shared/data";
}

/* The whole of a file; NULL when it is not there. Freed with free(). */
static inline char *data_read(const char *name, size_t *len)
{
    char path[512], *p = NULL;
    FILE *f;
    long n;

    snprintf(path, sizeof(path), "%s/%s", data_dir(), name);
    if (!(f = fopen(path, "rb")))
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) >= 0 && (p = malloc((size_t)n + 1))) {
        rewind(f);
        *len = fread(p, 1, (size_t)n, f);
    }
    fclose(f);
    return p;
}

#endif
