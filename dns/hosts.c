/*
 * hosts.c - names whose addresses the user wrote down
 *
 *   profile     pattern -> addresses | one alias | "lan"      the most specific pattern wins
 *   system      name -> addresses                             a map, read again when the file changes
 *
 * An alias is followed by who asks, step by step; a chain that never ends is found at load and its entry dropped, so following ends. "lan"
 * is what addresses this machine has; they are looked at anew every few seconds.
 */
#include "dns/hosts.h"

#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/arena.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/log.h"
#include "core/map.h"
#include "rules/rules.h"

#define LOOK_MS   5000
#define STEPS_MAX 16 /* a longer chain of aliases is taken for a circle */
#define LAN_MAX   32
#define FILE_MAX  (32 << 20)

struct entry {
    const char *pattern, *alias;
    const struct addr *addr;
    uint32_t n, line, column;
    bool lan, dropped;
};

struct named {
    struct map_node node;
    const char *name;
    struct addr *addr;
    uint32_t n;
};

struct system_hosts {
    struct arena mem;
    struct map names;
};

struct hosts {
    struct arena mem;
    struct matcher *patterns; /* -> number of an entry */
    struct entry *entries;
    uint32_t n;
    struct addr lan[LAN_MAX]; /* of this machine, without own */
    uint32_t n_lan;
    struct cidr own[2];
    bool uses_lan, told; /* told: queries get what the profile says */
    char *file; /* owns; NULL = the system's is not asked */
    struct system_hosts sys;
    uint64_t looked_ms;
    struct timespec changed;
};

/* ---- the system's file ---- */

static struct named *sys_find(const struct system_hosts *s, const char *name)
{
    for (struct map_node *m = map_first(&s->names, hash_bytes(name, strlen(name))); m; m = map_next(m)) {
        struct named *n = container_of(m, struct named, node);

        if (!strcmp(n->name, name))
            return n;
    }
    return NULL;
}

static void sys_add(struct system_hosts *s, const char *name, const struct addr *a)
{
    struct named *n = sys_find(s, name);
    struct addr *more;

    if (!n) {
        if (!(n = arena_alloc(&s->mem, sizeof(*n))) || !(n->name = arena_strdup(&s->mem, name, strlen(name))))
            return;
        map_add(&s->names, &n->node, hash_bytes(name, strlen(name)));
    }
    if (!(n->n & (n->n - 1))) { /* a power of two: full */
        if (!(more = arena_alloc(&s->mem, (n->n ? 2 * n->n : 1) * sizeof(*more))))
            return;
        if (n->n)
            memcpy(more, n->addr, n->n * sizeof(*more));
        n->addr = more;
    }
    n->addr[n->n++] = *a;
}

/* ADDRESS NAME... # words */
static void sys_line(struct system_hosts *s, char *line)
{
    char *save, *word, host[HOST_MAX + 1];
    struct addr a;

    line[strcspn(line, "#\n")] = 0;
    if (!(word = strtok_r(line, " \t\r", &save)) || addr_parse(word, &a) < 0)
        return; /* a zone (fe80::1%lo) or something else that is no address of a name */
    while ((word = strtok_r(NULL, " \t\r", &save)))
        if (host_normalise(word, strlen(word), host) == 0)
            sys_add(s, host, &a);
}

static void sys_fini(struct system_hosts *s)
{
    map_fini(&s->names);
    arena_fini(&s->mem);
    memset(s, 0, sizeof(*s));
}

static void sys_read(struct system_hosts *s, const char *file)
{
    FILE *f = fopen(file, "re");
    char *line = NULL;
    size_t cap = 0, sum = 0;
    ssize_t n;

    if (!f)
        return;
    if (map_init(&s->names, 64) == 0)
        while (sum < FILE_MAX && (n = getline(&line, &cap, f)) > 0) {
            sum += (size_t)n;
            sys_line(s, line);
        }
    free(line);
    fclose(f);
}

static struct timespec when_changed(const char *file)
{
    struct stat st;

    return stat(file, &st) == 0 ? st.st_mtim : (struct timespec){ 0 };
}

/* ---- addresses of this machine ---- */

static bool is_lan(const struct hosts *h, const struct addr *a)
{
    return !addr_is_loopback(a) && !addr_is_link_local(a) && !(h->own[0].ip.ver && cidr_contains(&h->own[0], a)) &&
           !(h->own[1].ip.ver && cidr_contains(&h->own[1], a));
}

static void read_lan(struct hosts *h)
{
    struct ifaddrs *all;
    struct endpoint at;

    h->n_lan = 0;
    if (!h->uses_lan || getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i && h->n_lan < LAN_MAX; i = i->ifa_next)
        if (i->ifa_addr && endpoint_from_sockaddr(i->ifa_addr, &at) == 0 && is_lan(h, &at.ip))
            h->lan[h->n_lan++] = at.ip;
    freeifaddrs(all);
}

bool hosts_refresh(struct hosts *h, uint64_t now_ms)
{
    struct timespec t;

    if (now_ms - h->looked_ms < LOOK_MS)
        return false;
    h->looked_ms = now_ms;
    read_lan(h);
    if (!h->file)
        return false;
    t = when_changed(h->file);
    if (t.tv_sec == h->changed.tv_sec && t.tv_nsec == h->changed.tv_nsec)
        return false;
    h->changed = t;
    sys_fini(&h->sys);
    sys_read(&h->sys, h->file);
    return true;
}

/* ---- the profile's entries ---- */

static bool find_written(const struct hosts *h, const char *name, struct host *out)
{
    uint32_t i = *name ? matcher_best(h->patterns, name) : MATCHER_NONE;
    const struct entry *e = i < h->n ? &h->entries[i] : NULL;

    if (!e || e->dropped)
        return false;
    *out = e->lan ? (struct host){ h->lan, h->n_lan, NULL } : (struct host){ e->addr, e->n, e->alias };
    return true;
}

static bool find_system(const struct hosts *h, const char *name, struct host *out)
{
    const struct named *n = h->sys.names.slot ? sys_find(&h->sys, name) : NULL;

    if (n)
        *out = (struct host){ n->addr, n->n, NULL };
    return n;
}

bool hosts_find(const struct hosts *h, const char *name, struct host *out)
{
    return find_written(h, name, out) || find_system(h, name, out);
}

bool hosts_tell(const struct hosts *h, const char *name, struct host *out)
{
    bool written = h->told || !strcmp(name, "localhost");

    return (written && find_written(h, name, out)) || find_system(h, name, out);
}

static void drop_circles(struct hosts *h, struct diag *d)
{
    for (uint32_t i = 0; i < h->n; i++) {
        struct entry *e = &h->entries[i];
        struct host at = { .alias = e->alias };
        int steps = 0;

        while (at.alias && steps++ < STEPS_MAX)
            if (!hosts_find(h, at.alias, &at))
                at.alias = NULL;
        if (!at.alias)
            continue;
        diag_warn(d, e->line, e->column, "hosts", "cycle", "hosts: the alias of \"%s\" leads back to itself; the entry is skipped",
                  e->pattern);
        e->dropped = true;
    }
}

static void add(struct hosts *h, struct entry e, struct diag *d)
{
    struct entry *to = &h->entries[h->n];
    char alias[HOST_MAX + 1];

    if (e.alias) {
        if (host_normalise(e.alias, strlen(e.alias), alias) < 0 || !(e.alias = arena_strdup(&h->mem, alias, strlen(alias)))) {
            diag_warn(d, e.line, e.column, "hosts", "bad-value", "hosts: the alias of \"%s\" is no name; the entry is skipped", e.pattern);
            return;
        }
    }
    *to = e;
    if (matcher_add_name(h->patterns, e.pattern, h->n, NULL) == 0) {
        h->n++;
        h->uses_lan |= e.lan;
    } else {
        diag_warn(d, e.line, e.column, "hosts", "bad-value", "hosts: \"%s\" is no name or pattern (*.x, +.x, .x); the entry is skipped",
                  e.pattern);
    }
}

struct hosts *hosts_new(const struct profile *p, const char *root, struct diag *d)
{
    static const struct addr loopback[] = { { 4, { 127, 0, 0, 1 } }, { 6, { [15] = 1 } } };
    struct hosts *h = calloc(1, sizeof(*h));

    if (!h || !(h->patterns = matcher_new(NULL)) || !(h->entries = arena_alloc(&h->mem, (p->n_hosts + 1) * sizeof(*h->entries)))) {
        hosts_free(h);
        return NULL;
    }
    for (uint32_t i = 0; i < p->n_hosts; i++) {
        const struct cfg_hosts_entry *e = &p->hosts[i];

        add(h,
            (struct entry){ .pattern = e->pattern,
                            .alias = e->alias,
                            .addr = e->addrs,
                            .n = e->n,
                            .lan = e->lan,
                            .line = e->line,
                            .column = e->column },
            d);
    }
    add(h, (struct entry){ .pattern = "localhost", .addr = loopback, .n = 2 }, d); /* unless the profile says otherwise */
    if (matcher_finish(h->patterns) < 0) {
        hosts_free(h);
        return NULL;
    }
    drop_circles(h, d);
    h->told = p->dns.use_hosts;
    h->own[0] = p->tun.inet4;
    h->own[1] = p->tun.inet6;
    read_lan(h);
    if (p->dns.use_system_hosts && asprintf(&h->file, "%s/etc/hosts", root) > 0) {
        h->changed = when_changed(h->file);
        sys_read(&h->sys, h->file);
    }
    return h;
}

void hosts_free(struct hosts *h)
{
    if (!h)
        return;
    sys_fini(&h->sys);
    free(h->file);
    matcher_free(h->patterns);
    arena_fini(&h->mem);
    free(h);
}
