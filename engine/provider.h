/*
 * provider.h - rule and proxy providers: content that a profile keeps elsewhere
 *
 *   inline   stands in the profile; nothing is done here
 *   file     a file that the user keeps: looked at every few seconds
 *   http     fetched, checked, stored below the state directory; refreshed when it is old, tried again when it failed
 *
 * What is in use is read from the stored file by whoever builds rules and outbounds; here it is brought and kept fresh. A copy is only
 * replaced by one that was read whole and checked, the two before it are kept, and a failure changes nothing (reliability section 5, D1 to
 * D8). Fetching, checking and writing are done by a thread of the pool, at most two at a time.
 */
#ifndef ENGINE_PROVIDER_H
#define ENGINE_PROVIDER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"
#include "engine/said.h"
#include "rules/set.h"

enum provider_kind { PROVIDER_PROXIES, PROVIDER_RULES, PROVIDER_GEO };
enum provider_from { PROVIDER_HTTP, PROVIDER_FILE, PROVIDER_INLINE };

struct provider_spec {
    enum provider_kind kind;
    enum provider_from from;
    const char *name;
    const char *url;            /* http */
    const char *path;           /* as written; NULL or "" = by the url */
    const char *proxy;          /* policy for the download; NULL = the rules decide */
    const char *const *headers; /* "Name: value", NULL-terminated; NULL = none */
    const char *user_agent;     /* NULL = the usual one */
    const char *near;           /* a directory where the user's own relative paths are looked for, too; NULL = none */
    bool whole;                 /* never ask for changes only (etag-support: false) */
    int64_t interval_s;         /* 0 = only when there is nothing yet */
    int64_t size_limit;         /* 0 = 64 MiB, for proxies 16 MiB; never more than that */
    bool own;                   /* from the user's own file: may name files outside and private addresses */
    enum set_behavior behavior; /* rules */
    enum set_format format;
};

/* Where the content of an http provider is stored, below the state directory: its path if it is in there, else rules/, proxies/ or geo/ and
 * the MD5 of the url, as other clients name it. 0; -EXDEV: its path leads outside (out is the other one); -ENAMETOOLONG. */
int provider_path(const struct provider_spec *s, const char *state_dir, char out[PATH_MAX]);
/* Reads what is stored (nth 0) or a copy before it (1 and 2: for when what is stored turns out broken), or the user's file (only nth 0).
 * bytes is the caller's, with a NUL behind. 0; -ENOENT: there is none; -EFBIG, or -err. written_s: Unix time. May run in a thread, and for
 * `check`. */
int provider_read(const struct provider_spec *s, const char *state_dir, unsigned nth, char **bytes, size_t *len, int64_t *written_s);
#define PROVIDER_COPIES 2
/* Stored files are changed by one thread at a time: a provider that went with a reload and the one that came for it may have the same file,
 * and one that was found broken may be good by now. */
void provider_lock(void);
void provider_unlock(void);
size_t provider_size_max(const struct provider_spec *s);
/* What the system says of a user's file (not http). */
struct stat;
bool provider_stat(const struct provider_spec *s, const char *state_dir, struct stat *st);
/* Does rule content make sense? false, with the reason in why. entries may be NULL. */
bool provider_check_rules(const struct provider_spec *s, const char *bytes, size_t len, uint32_t *entries, char why[256]);

/* ---- keeping them fresh ---- */

struct providers;

/* What the engine lends. All but open and failed are called from the loop. */
struct provider_hooks {
    void *arg;
    /* From a thread. Is this content of use? false, with the reason. */
    bool (*check)(void *arg, const struct provider_spec *s, const char *bytes, size_t len, char why[256]);
    /* New content is stored (http) or was written (file). */
    void (*changed)(void *arg, const struct provider_spec *s);
    /* The way of one download to the world: made, used from a thread as fetch_in wants it, ended. NULL without memory. */
    void *(*way)(void *arg, const struct provider_spec *s);
    int (*open)(void *way, const char *host, uint16_t port, char name[64]);
    int (*failed)(void *way);
    void (*end)(void *way);
};

struct providers *providers_new(struct loop *l, const char *state_dir, const char *user_agent, const struct provider_hooks *h);
/* Waits for what a thread is at. */
void providers_free(struct providers *ps);
/* The providers of a new policy: those that are as before go on as they are. Copies what it needs. Nothing is fetched before
 * providers_start(). 0 or -ENOMEM (then the rest is left out). */
int providers_set(struct providers *ps, const struct provider_spec *const *specs, size_t n);
void providers_start(struct providers *ps);

struct provider_view {
    const struct provider_spec *spec; /* as the others, until the next turn of the loop */
    int64_t updated_s;                /* Unix time of the content in use; 0 = there is none */
    int64_t bytes;                    /* how much it is */
    const char *userinfo;             /* subscription-userinfo as it came (said_account() reads it), "" = none */
    const char *why;                  /* what went wrong last; "" = nothing */
    bool busy;
};
void providers_each(struct providers *ps, void (*fn)(void *arg, const struct provider_view *v), void *arg);

/* Fetch now (file: look now). done once, from the loop: 0, or -err with the reason in why. */
struct provider_wait {
    void (*done)(struct provider_wait *w, int err, const char *why);
    struct list_head node; /* private */
};
/* 0; -ENOENT: no such provider; -ERR_UNSUPPORTED: an inline one. */
int providers_refresh(struct providers *ps, enum provider_kind kind, const char *name, struct provider_wait *w);
void providers_forget(struct provider_wait *w); /* no done any more */

#endif
