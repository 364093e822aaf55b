/*
 * provider.c - providers are brought and kept fresh
 *
 *   due ─► waiting ─► thread: fetch ─► check ─► compare ─► store ─► loop: changed! ─► due after interval
 *                        └──────────── failed: nothing changes ──────────────────────► due after 10 s, 20 s, 40 s ... interval
 *
 * Beside the stored file lies FILE.meta: what the server said about it (ETag and the like), written after the file, so that it never speaks
 * of content we do not have.
 *
 * A provider belongs to the list, and while a thread works for it to its trip too: one that goes with a reload while it is fetched is freed
 * when the thread is back. Texts are copied, for the profile they stand in may go first.
 */
#include "engine/provider.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/err.h"
#include "core/file.h"
#include "core/log.h"
#include "core/work.h"
#include "engine/fetch.h"

#define AT_ONCE      2
#define RETRY_MS     10000
#define RETRY_MAX_MS 3600000
#define WATCH_MS     5000
#define FETCH_MS     30000
#define NO_MEMORY_MS 1000
#define META_MAX     4096
#define WHY_MAX      256
#define TOLD_MAX     (FETCH_WHY_MAX + WHY_MAX)

struct provider;

/* What a thread does for a provider. It reads the provider's spec and path, and writes here only. */
struct trip {
    struct work w;
    struct provider *p;
    void *way;
    atomic_bool stop;
    /* the result */
    int err;
    bool changed;
    size_t bytes; /* of new content */
    char userinfo[SAID_MAX], why[TOLD_MAX];
};

struct provider {
    struct list_head node; /* providers.all */
    struct list_head turn; /* providers.waiting */
    struct providers *ps;
    struct arena mem;
    struct provider_spec spec;
    char *path; /* http: where it is stored */
    struct timer due;
    struct trip *trip; /* a thread is at it */
    bool gone;         /* of no policy any more: freed when the thread is back */
    unsigned n_failed; /* in a row */
    int64_t updated_s, bytes;
    struct stat seen;       /* file: as it was last */
    struct list_head waits; /* struct provider_wait */
    char userinfo[SAID_MAX], why[TOLD_MAX];
};

struct providers {
    struct loop *loop;
    const char *state_dir, *user_agent;
    struct provider_hooks hooks;
    struct list_head all, waiting;
    struct timer again; /* there was no memory to begin */
    unsigned n_working;
    bool started;
};

/* ---- what the server said about a file ---- */

static void meta_path(const struct provider *p, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s.meta", p->path);
}

/* Nothing known is fine. */
static void meta_read(const struct provider *p, struct said *s)
{
    char path[PATH_MAX], *bytes;
    size_t len;
    int64_t when;

    memset(s, 0, sizeof(*s));
    meta_path(p, path);
    if (file_read_beneath(p->ps->state_dir, path, META_MAX, &bytes, &len, &when) < 0)
        return;
    said_read(s, bytes, len, p->spec.url);
    free(bytes);
}

static void meta_write(const struct provider *p, const struct said *s)
{
    char path[PATH_MAX], *text = said_write(s, p->spec.url);

    meta_path(p, path);
    if (text)
        file_replace_beneath(p->ps->state_dir, path, text, strlen(text), 0); /* without it the next answer is whole, that is all */
    free(text);
}

/* ---- in the thread ---- */

static void fail(struct trip *t, int err, const char *why)
{
    t->err = err;
    snprintf(t->why, sizeof(t->why), "%s", why);
}

static void check_and_store(struct trip *t, const struct fetch_out *got)
{
    struct provider *p = t->p;
    char why[WHY_MAX] = "", *old = NULL;
    size_t len = 0;
    int64_t when;
    int r;

    if (!p->ps->hooks.check(p->ps->hooks.arg, &p->spec, got->body, got->len, why)) {
        snprintf(t->why, sizeof(t->why), "%s: %s", got->host, why);
        t->err = -EBADMSG;
        return;
    }
    r = file_read_beneath(p->ps->state_dir, p->path, provider_size_max(&p->spec), &old, &len, &when);
    t->changed = r < 0 || len != got->len || memcmp(old, got->body, len) != 0;
    free(old);
    if (t->changed)
        r = file_replace_beneath(p->ps->state_dir, p->path, got->body, got->len, PROVIDER_COPIES);
    else
        r = file_touch_beneath(p->ps->state_dir, p->path);
    if (r < 0) {
        t->changed = false;
        snprintf(t->why, sizeof(t->why), "it cannot be stored: %s", err_str(r));
        t->err = r;
        return;
    }
    t->bytes = got->len;
    meta_write(p, &got->said);
}

static void store(struct trip *t, const struct fetch_out *got)
{
    provider_lock();
    if (atomic_load(&t->stop))
        fail(t, -ERR_CLOSED, "given up");
    else
        check_and_store(t, got);
    provider_unlock();
}

static void fetch_in_thread(struct work *w)
{
    struct trip *t = container_of(w, struct trip, w);
    struct provider *p = t->p;
    struct fetch_out got;
    struct said said = { 0 };
    int have = file_open_beneath(p->ps->state_dir, p->path);

    if (have >= 0) { /* conditions only for what is there */
        meta_read(p, &said);
        close(have);
    }
    t->err = fetch(&(struct fetch_in){ .url = p->spec.url,
                                       .headers = p->spec.headers,
                                       .user_agent = p->spec.user_agent ? p->spec.user_agent : p->ps->user_agent,
                                       .etag = p->spec.whole ? NULL : said.etag,
                                       .modified = p->spec.whole ? NULL : said.modified,
                                       .max = provider_size_max(&p->spec),
                                       .timeout_ms = FETCH_MS,
                                       .open = p->ps->hooks.open,
                                       .failed = p->ps->hooks.failed,
                                       .arg = t->way,
                                       .stop = &t->stop },
                   &got);
    if (t->err < 0)
        fail(t, t->err, got.why);
    else if (got.unchanged)
        file_touch_beneath(p->ps->state_dir, p->path);
    else
        store(t, &got);
    snprintf(t->userinfo, sizeof(t->userinfo), "%s", *got.said.userinfo ? got.said.userinfo : said.userinfo);
    fetch_fini(&got);
}

static void look_in_thread(struct work *w)
{
    struct trip *t = container_of(w, struct trip, w);
    const struct provider *p = t->p;
    char why[WHY_MAX] = "", *bytes;
    size_t len;
    int64_t when;

    if ((t->err = provider_read(&p->spec, p->ps->state_dir, 0, &bytes, &len, &when)) < 0) {
        fail(t, t->err, err_str(t->err));
        return;
    }
    t->changed = p->ps->hooks.check(p->ps->hooks.arg, &p->spec, bytes, len, why);
    if (!t->changed)
        fail(t, -EBADMSG, why);
    t->bytes = len;
    free(bytes);
}

/* ---- on the loop ---- */

static const char *kind_word(const struct provider *p)
{
    return p->spec.kind == PROVIDER_RULES ? "rule provider" : p->spec.kind == PROVIDER_PROXIES ? "proxy provider" : "geo data";
}

static void provider_free(struct provider *p)
{
    timer_cancel(&p->due);
    list_del(&p->node);
    list_del(&p->turn);
    list_each_safe (n, tmp, &p->waits) {
        struct provider_wait *w = container_of(n, struct provider_wait, node);

        list_del(n);
        w->done(w, -ERR_CLOSED, "it is no longer in the profile");
    }
    arena_fini(&p->mem);
    free(p);
}

static int64_t wall_s(void)
{
    return (int64_t)time(NULL);
}

static uint64_t retry_ms(const struct provider *p)
{
    uint64_t most = p->spec.interval_s > 0 && p->spec.interval_s < RETRY_MAX_MS / 1000 ? (uint64_t)p->spec.interval_s * 1000 : RETRY_MAX_MS;
    uint64_t ms = RETRY_MS;

    for (unsigned i = 1; i < p->n_failed && ms < most; i++)
        ms *= 2;
    return ms < most ? ms : most;
}

/* When to look again. Without an interval: until there is something. */
static void plan(struct provider *p)
{
    uint64_t ms = 0;

    if (p->spec.from == PROVIDER_FILE)
        ms = WATCH_MS;
    else if (p->n_failed && (p->spec.interval_s > 0 || !p->updated_s))
        ms = retry_ms(p);
    else if (p->spec.interval_s > 0)
        ms = (uint64_t)p->spec.interval_s * 1000;
    if (ms)
        timer_set(p->ps->loop, &p->due, ms);
}

static void say_failed(const struct provider *p, const struct trip *t)
{
    char name[96];

    if (!strcmp(p->why, t->why))
        return; /* said before */
    log_warn(LOG_CFG, "%s %s: %s; %s", kind_word(p), log_safe(p->spec.name, strlen(p->spec.name), name, sizeof(name)), t->why,
             p->updated_s ? "what there is stays in use" : "it is empty until that works");
}

static void say_changed(const struct provider *p)
{
    char name[96];

    log_info(LOG_CFG, "%s %s: new content", kind_word(p), log_safe(p->spec.name, strlen(p->spec.name), name, sizeof(name)));
}

static void tell_waiting(struct provider *p, const struct trip *t)
{
    struct list_head told;

    list_init(&told);
    list_splice(&told, &p->waits);
    list_each_safe (n, tmp, &told) {
        struct provider_wait *w = container_of(n, struct provider_wait, node);

        list_del(n);
        w->done(w, t->err, t->why);
    }
}

static void next_turn(struct providers *ps);

static void take_result(struct provider *p, const struct trip *t)
{
    if (t->err < 0) {
        p->n_failed++;
        say_failed(p, t);
    } else {
        p->n_failed = 0;
        p->updated_s = wall_s();
        p->bytes = t->bytes ? (int64_t)t->bytes : p->bytes;
        memcpy(p->userinfo, t->userinfo, sizeof(p->userinfo));
    }
    memcpy(p->why, t->why, sizeof(p->why));
    plan(p);
    if (t->changed) {
        say_changed(p);
        p->ps->hooks.changed(p->ps->hooks.arg, &p->spec);
    }
    tell_waiting(p, t);
}

static void on_back(struct work *w)
{
    struct trip *t = container_of(w, struct trip, w);
    struct provider *p = t->p;
    struct providers *ps = p->ps;

    if (t->way)
        ps->hooks.end(t->way);
    p->trip = NULL;
    ps->n_working--;
    if (p->gone)
        provider_free(p);
    else
        take_result(p, t);
    free(t);
    next_turn(ps);
}

/* false: not now. */
static bool begin(struct provider *p)
{
    struct providers *ps = p->ps;
    bool http = p->spec.from == PROVIDER_HTTP;
    struct trip *t = calloc(1, sizeof(*t));

    if (!t)
        return false;
    t->p = p;
    t->w = (struct work){ http ? fetch_in_thread : look_in_thread, on_back };
    if ((http && !(t->way = ps->hooks.way(ps->hooks.arg, &p->spec))) || work_start(ps->loop, &t->w) < 0) {
        if (t->way)
            ps->hooks.end(t->way);
        free(t);
        return false;
    }
    p->trip = t;
    ps->n_working++;
    return true;
}

static void next_turn(struct providers *ps)
{
    while (ps->started && ps->n_working < AT_ONCE && !list_empty(&ps->waiting)) {
        struct provider *p = container_of(list_first(&ps->waiting), struct provider, turn);

        if (!begin(p)) {
            timer_set(ps->loop, &ps->again, NO_MEMORY_MS);
            return;
        }
        list_del(&p->turn);
    }
}

static void on_again(struct timer *t)
{
    next_turn(container_of(t, struct providers, again));
}

/* Puts it in the queue, once. */
static void want(struct provider *p)
{
    timer_cancel(&p->due);
    if (!p->trip && list_empty(&p->turn))
        list_append(&p->ps->waiting, &p->turn);
    next_turn(p->ps);
}

/* Has the user's file changed since we looked last? */
static bool file_changed(struct provider *p)
{
    struct stat st = { 0 };
    bool changed;

    if (!provider_stat(&p->spec, p->ps->state_dir, &st))
        st = (struct stat){ 0 };
    changed = st.st_ino != p->seen.st_ino || st.st_size != p->seen.st_size || st.st_mtim.tv_sec != p->seen.st_mtim.tv_sec ||
              st.st_mtim.tv_nsec != p->seen.st_mtim.tv_nsec;
    p->seen = st;
    return changed;
}

static void on_due(struct timer *tm)
{
    struct provider *p = container_of(tm, struct provider, due);

    if (p->spec.from == PROVIDER_HTTP || file_changed(p))
        want(p);
    else
        plan(p);
}

/* ---- the list ---- */

static char *copy(struct provider *p, const char *s)
{
    return s ? arena_strdup(&p->mem, s, strlen(s)) : NULL;
}

static const char *const *copy_headers(struct provider *p, const char *const *h)
{
    size_t n = 0;
    const char **out;

    while (h && h[n])
        n++;
    if (!n || !(out = arena_alloc(&p->mem, (n + 1) * sizeof(*out))))
        return NULL;
    for (size_t i = 0; i < n; i++)
        out[i] = copy(p, h[i]);
    return out;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : !(a && *a) && !(b && *b);
}

static bool same_headers(const char *const *a, const char *const *b)
{
    size_t i = 0;

    for (; a && b && a[i] && b[i]; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return (!a || !a[i]) && (!b || !b[i]);
}

/* Would the same be fetched, and put to the same place? */
static bool same(const struct provider_spec *a, const struct provider_spec *b)
{
    return a->kind == b->kind && a->from == b->from && !strcmp(a->name, b->name) && same_text(a->url, b->url) &&
           same_text(a->path, b->path) && same_text(a->proxy, b->proxy) && same_headers(a->headers, b->headers) &&
           a->interval_s == b->interval_s && a->size_limit == b->size_limit && a->own == b->own && a->whole == b->whole &&
           same_text(a->user_agent, b->user_agent) && same_text(a->near, b->near) && a->behavior == b->behavior && a->format == b->format;
}

/* When the stored copy was written, and when to fetch the next. */
static void find_copy(struct provider *p)
{
    int fd = file_open_beneath(p->ps->state_dir, p->path);
    struct said said;
    struct stat st;
    int64_t age, left;

    if (fd < 0 || fstat(fd, &st) < 0) {
        if (fd >= 0)
            close(fd);
        list_append(&p->ps->waiting, &p->turn);
        return;
    }
    close(fd);
    meta_read(p, &said);
    memcpy(p->userinfo, said.userinfo, sizeof(p->userinfo));
    p->updated_s = st.st_mtime;
    p->bytes = st.st_size;
    if (p->spec.interval_s <= 0)
        return;
    age = wall_s() - st.st_mtime;
    left = p->spec.interval_s - age;
    if (age < 0 || left <= 0) /* a clock that was wrong counts as old */
        list_append(&p->ps->waiting, &p->turn);
    else
        timer_set(p->ps->loop, &p->due, (uint64_t)left * 1000);
}

static void find_file(struct provider *p)
{
    file_changed(p);
    p->updated_s = p->seen.st_mtime;
    p->bytes = p->seen.st_size;
    timer_set(p->ps->loop, &p->due, WATCH_MS);
}

static int add(struct providers *ps, const struct provider_spec *s)
{
    struct provider *p = calloc(1, sizeof(*p));
    char path[PATH_MAX] = "";

    if (!p)
        return -ENOMEM;
    list_init(&p->turn);
    list_init(&p->waits);
    list_append(&ps->all, &p->node);
    p->ps = ps;
    p->due.cb = on_due;
    p->spec = *s;
    p->spec.name = copy(p, s->name);
    p->spec.url = copy(p, s->url);
    p->spec.path = copy(p, s->path);
    p->spec.proxy = copy(p, s->proxy);
    p->spec.headers = copy_headers(p, s->headers);
    p->spec.user_agent = copy(p, s->user_agent);
    p->spec.near = copy(p, s->near);
    if (s->from == PROVIDER_HTTP && provider_path(s, ps->state_dir, path) != -EINVAL)
        p->path = copy(p, path);
    if (!p->spec.name || (s->url && !p->spec.url) || (s->path && !p->spec.path) || (s->proxy && !p->spec.proxy)) {
        provider_free(p);
        return -ENOMEM;
    }
    if (s->from == PROVIDER_HTTP && p->path && *p->path)
        find_copy(p);
    else if (s->from == PROVIDER_FILE && s->path && *s->path)
        find_file(p);
    return 0;
}

static void drop(struct provider *p)
{
    if (!p->trip) {
        provider_free(p);
        return;
    }
    p->gone = true; /* freed when the thread is back */
    atomic_store(&p->trip->stop, true);
    timer_cancel(&p->due);
    list_del(&p->node);
}

static struct provider *find(struct providers *ps, enum provider_kind kind, const char *name)
{
    list_each_safe (n, tmp, &ps->all) {
        struct provider *p = container_of(n, struct provider, node);

        if (p->spec.kind == kind && !strcmp(p->spec.name, name))
            return p;
    }
    return NULL;
}

static bool wanted(const struct provider *p, const struct provider_spec *const *specs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (same(&p->spec, specs[i]))
            return true;
    return false;
}

int providers_set(struct providers *ps, const struct provider_spec *const *specs, size_t n)
{
    int r = 0;

    list_each_safe (at, tmp, &ps->all) {
        struct provider *p = container_of(at, struct provider, node);

        if (!wanted(p, specs, n))
            drop(p);
    }
    for (size_t i = 0; i < n && r == 0; i++)
        if (!find(ps, specs[i]->kind, specs[i]->name))
            r = add(ps, specs[i]);
    next_turn(ps);
    return r;
}

void providers_start(struct providers *ps)
{
    ps->started = true;
    next_turn(ps);
}

struct providers *providers_new(struct loop *l, const char *state_dir, const char *user_agent, const struct provider_hooks *h)
{
    struct providers *ps = calloc(1, sizeof(*ps));

    if (!ps)
        return NULL;
    ps->loop = l;
    ps->state_dir = state_dir;
    ps->user_agent = user_agent;
    ps->hooks = *h;
    ps->again.cb = on_again;
    list_init(&ps->all);
    list_init(&ps->waiting);
    return ps;
}

void providers_free(struct providers *ps)
{
    if (!ps)
        return;
    ps->started = false;
    timer_cancel(&ps->again);
    list_each_safe (n, tmp, &ps->all)
        drop(container_of(n, struct provider, node));
    while (ps->n_working)
        loop_turn(ps->loop, 100);
    free(ps);
}

void providers_each(struct providers *ps, void (*fn)(void *arg, const struct provider_view *v), void *arg)
{
    list_each_safe (n, tmp, &ps->all) {
        struct provider *p = container_of(n, struct provider, node);

        fn(arg, &(struct provider_view){ &p->spec, p->updated_s, p->bytes, p->userinfo, p->why, p->trip || !list_empty(&p->turn) });
    }
}

int providers_refresh(struct providers *ps, enum provider_kind kind, const char *name, struct provider_wait *w)
{
    struct provider *p = find(ps, kind, name);

    if (!p)
        return -ENOENT;
    if (p->spec.from == PROVIDER_INLINE || (p->spec.from == PROVIDER_HTTP ? !p->path || !*p->path : !p->spec.path || !*p->spec.path))
        return -ERR_UNSUPPORTED;
    list_append(&p->waits, &w->node);
    want(p);
    return 0;
}

void providers_forget(struct provider_wait *w)
{
    list_del(&w->node);
}
