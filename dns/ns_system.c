/*
 * ns_system.c - the name servers that the system uses, or that DHCP brought on an interface
 *
 *   system          /run/systemd/resolve/resolv.conf (what resolved forwards to), else /etc/resolv.conf
 *   dhcp://IFACE    what the program that holds the lease wrote down about it; nothing there: as system
 *
 * Read again when they are older than five minutes, when the network or the profile is another one, and every two seconds while there are
 * none. Addresses of this machine are left out: a stub there would ask us.
 *
 * A server of this kind is a list of plain ones, asked as any list.
 */
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/log.h"
#include "core/sock.h"
#include "dns/private.h"

#define KEEP_MS     300000
#define NONE_MS     2000 /* until it is looked again where there was nothing */
#define SERVERS_MAX 8

struct system_ns {
    struct ns s;
    struct ns_list *list; /* believed until s.addr_until_ms */
    bool said;
};

struct inner {
    struct ns_ask *q;
    struct ns_list *list; /* a reference */
    struct race race;
};

/* ---- files ---- */

/* Where servers are written down: lines that begin with a word, then addresses. */
struct source {
    const char *path, *word;
    enum { WHOLE, NAME, NUMBER } by; /* of the interface, what stands between path and rest */
    const char *rest;
};
static const struct source of_system[] = {
    { "/run/systemd/resolve/resolv.conf", "nameserver", WHOLE, NULL },
    { "/etc/resolv.conf", "nameserver", WHOLE, NULL },
};
static const struct source of_link[] = {
    { "/run/systemd/netif/leases/", "DNS=", NUMBER, "" },
    { "/run/systemd/resolve/netif/", "SERVERS=", NUMBER, "" },
    { "/run/resolvconf/interface/", "nameserver", NAME, ".dhclient" },
    { "/run/dhcpcd/resolv.conf/", "nameserver", NAME, ".dhcp" },
    { "/var/lib/dhcp/dhclient.", "option domain-name-servers", NAME, ".leases" },
};

struct found {
    struct endpoint *at;
    unsigned n, max;
};

static bool is_usable(const struct dns *d, const struct addr *a)
{
    if (addr_is_unspecified(a) || sock_is_here(a))
        return false;
    for (size_t i = 0; i < sizeof(d->own) / sizeof(d->own[0]); i++)
        if (d->own[i].ip.ver && cidr_contains(&d->own[i], a))
            return false;
    return true;
}

static void take_line(const struct dns *d, char *line, const char *word, struct found *f)
{
    char *save, *at = line + strspn(line, " \t");
    struct addr a;

    if (strncmp(at, word, strlen(word)) != 0)
        return;
    for (char *t = strtok_r(at + strlen(word), " \t,;\r\n", &save); t && f->n < f->max; t = strtok_r(NULL, " \t,;\r\n", &save))
        if (addr_parse(t, &a) == 0 && is_usable(d, &a))
            f->at[f->n++] = (struct endpoint){ a, 53 };
}

static void read_file(const struct dns *d, const char *path, const char *word, struct found *f)
{
    char whole[PATH_MAX], line[1024];
    FILE *file;

    snprintf(whole, sizeof(whole), "%s%s", d->root, path);
    if (!(file = fopen(whole, "re")))
        return;
    while (fgets(line, sizeof(line), file))
        take_line(d, line, word, f);
    fclose(file);
}

unsigned ns_system_find(const struct dns *d, const struct ns_spec *n, struct endpoint *out, unsigned max)
{
    struct found f = { out, 0, max };
    char path[PATH_MAX], number[16];

    snprintf(number, sizeof(number), "%u", if_nametoindex(n->host));
    for (size_t i = 0; n->kind == NS_DHCP && !f.n && i < sizeof(of_link) / sizeof(of_link[0]); i++) {
        const struct source *s = &of_link[i];

        snprintf(path, sizeof(path), "%s%s%s", s->path, s->by == NUMBER ? number : n->host, s->rest);
        read_file(d, path, s->word, &f);
    }
    for (size_t i = 0; !f.n && i < sizeof(of_system) / sizeof(of_system[0]); i++)
        read_file(d, of_system[i].path, of_system[i].word, &f);
    return f.n;
}

/* A list of plain servers. NULL without memory. */
static struct ns_list *make_list(struct dns *d, const struct endpoint *at, unsigned n)
{
    char text[SERVERS_MAX][ENDPOINT_STRLEN];
    const char *v[SERVERS_MAX];
    struct ns_list *l;
    struct diag ignored;

    for (unsigned i = 0; i < n; i++)
        v[i] = endpoint_str(&at[i], text[i]);
    diag_init(&ignored, "", NULL, 0, false);
    l = ns_list_new(d, &(struct cfg_strs){ .n = n, .v = v }, false, "", &ignored);
    diag_fini(&ignored);
    return l;
}

static void say_none(struct system_ns *y, bool none)
{
    char text[256];

    if (none && !y->said)
        log_warn(LOG_DNS,
                 "%s: no name server is written down there that is not this machine itself; names are not found by it: write the servers "
                 "into dns.nameserver",
                 log_safe(y->s.text, strlen(y->s.text), text, sizeof(text)));
    y->said = none;
}

static int refresh(struct system_ns *y)
{
    uint64_t now = loop_now(y->s.d->loop);
    struct endpoint at[SERVERS_MAX];
    struct ns_list *fresh;
    unsigned n;

    if (y->list && now < y->s.addr_until_ms)
        return 0;
    n = ns_system_find(y->s.d, &y->s.spec, at, SERVERS_MAX);
    y->s.addr_until_ms = now + (n ? KEEP_MS : NONE_MS);
    if (!n && y->list && y->list->n) /* the old ones are better than none */
        return 0;
    say_none(y, !n);
    if (!(fresh = make_list(y->s.d, at, n)))
        return y->list ? 0 : -ENOMEM;
    ns_list_put(y->list);
    y->list = fresh;
    return 0;
}

/* ---- asking ---- */

static void inner_free(struct inner *in)
{
    race_stop(&in->race);
    ns_list_put(in->list);
    free(in);
}

static void on_done(struct race *r, int err, uint8_t *msg, size_t len, const struct answer *a, struct ns *who)
{
    struct inner *in = container_of(r, struct inner, race);
    struct ns_ask *q = in->q;

    q->priv = NULL;
    ns_answer(q, err, msg, len);
    inner_free(in);
}

static int system_ask(struct ns *s, struct ns_ask *q)
{
    struct system_ns *y = container_of(s, struct system_ns, s);
    struct inner *in;
    int r;

    if ((r = refresh(y)) < 0)
        return r;
    if (!(in = calloc(1, sizeof(*in))))
        return -ENOMEM;
    in->q = q;
    in->list = ns_list_get(y->list);
    in->race = (struct race){ .list = in->list, .key = q->key, .spelling = q->spelling, .depth = q->depth, .done = on_done };
    if ((r = race_start(&in->race, s->d->loop)) < 0) {
        inner_free(in);
        return r;
    }
    q->priv = in;
    return 0;
}

static void system_cancel(struct ns *s, struct ns_ask *q)
{
    inner_free(q->priv);
    q->priv = NULL;
}

static void system_close(struct ns *s)
{
    struct system_ns *y = container_of(s, struct system_ns, s);

    ns_list_put(y->list);
    free(y);
}

static const struct ns_ops system_ops = { system_ask, system_cancel, system_close };

struct ns *ns_system_new(void)
{
    struct system_ns *y = calloc(1, sizeof(*y));

    if (!y)
        return NULL;
    y->s.ops = &system_ops;
    return &y->s;
}
