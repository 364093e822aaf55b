/*
 * input.c - the files that make a profile: the one named, and the user's own settings over it
 *
 * The local file's usual place may be empty, and a user who may not read it can still judge a profile: that is said. One that was asked for
 * must be there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"

/* The whole of a file, at most a byte more than a profile may have; NULL with errno. */
static char *slurp(FILE *f, size_t *len)
{
    size_t cap = 65536;
    char *buf = malloc(cap), *more;

    *len = 0;
    while (buf && !feof(f) && !ferror(f) && *len <= CFG_MAX_INPUT) {
        if (*len == cap) {
            if (!(more = realloc(buf, cap *= 2)))
                break;
            buf = more;
        }
        *len += fread(buf + *len, 1, cap - *len, f);
    }
    if (buf && (feof(f) || *len > CFG_MAX_INPUT))
        return buf;
    free(buf);
    return NULL;
}

static int read_file(const char *name, struct cfg_input *in)
{
    FILE *f = !strcmp(name, "-") ? stdin : fopen(name, "re");
    int err = 0;

    *in = (struct cfg_input){ .name = name };
    if (!f || !(in->bytes = slurp(f, &in->len)))
        err = errno ? -errno : -EIO;
    if (f && f != stdin)
        fclose(f);
    return err;
}

static bool read_local(const struct options *o, struct cfg_input *in)
{
    int err = read_file(o->local ? o->local : DEFAULT_LOCAL, in);

    if (err == 0 || (!o->local && err == -ENOENT))
        return true;
    fprintf(stderr, "shunt: %s: %s%s\n", in->name, strerror(-err), o->local ? "" : "; the profile is judged without it");
    return !o->local;
}

bool inputs_read(const struct options *o, const char *name, struct inputs *in)
{
    int err = read_file(name, &in->profile);

    in->profile.foreign = o->foreign;
    in->local = (struct cfg_input){ 0 };
    if (err < 0)
        fprintf(stderr, "shunt: %s: %s\n", name, strerror(-err));
    else if (read_local(o, &in->local))
        return true;
    inputs_fini(in);
    return false;
}

void inputs_fini(struct inputs *in)
{
    free((char *)in->profile.bytes);
    free((char *)in->local.bytes);
    *in = (struct inputs){ 0 };
}

const struct cfg_input *inputs_local(const struct inputs *in)
{
    return in->local.bytes ? &in->local : NULL;
}
