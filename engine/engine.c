/*
 * engine.c - builds what carries traffic, and swaps the policy while it runs
 *
 * Start: profile -> policy; resolver; TUN parameters to the supervisor, descriptors back; stack; DNS service. Everything that can fail
 * for reasons of the user (the profile) fails before anything is asked of the system.
 * Reload: the new policy is built and checked beside the old one, then one pointer is swapped; old flows keep a reference to theirs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/content.h"
#include "engine/health.h"
#include "engine/private.h"

#define FDS_RESERVED 512 /* for everything that is not a flow */
#define FLOWS_MAX 65536u

static struct cidr network_of(struct cidr c)
{
    char text[ADDR_STRLEN + 4], addr[ADDR_STRLEN];

    if (!c.ip.ver)
        return c;
    snprintf(text, sizeof(text), "%s/%u", addr_str(&c.ip, addr), c.len);
    cidr_parse(text, &c); /* clears the host bits */
    return c;
}

static int set_hijack(struct engine *e, const struct profile *p)
{
    struct endpoint *list = calloc(p->tun.dns_hijack.n + 1, sizeof(*list));
    uint32_t n = 0;

    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; p->dns.enable && i < p->tun.dns_hijack.n; i++)
        n += cfg_hijack_parse(p->tun.dns_hijack.v[i], &list[n]);
    free(e->hijack);
    e->hijack = list;
    e->n_hijack = n;
    return 0;
}

/* What p wants of the device, the routes and the redirect; borrows from p. */
static struct plat_tun wish(const struct profile *p)
{
    struct plat_tun want = {
        .mtu = (uint32_t)p->tun.mtu,
        .addr4 = p->tun.inet4,
        .addr6 = p->tun.inet6,
        .fake4 = p->dns.fake4,
        .fake6 = p->dns.fake6,
        .auto_route = p->tun.auto_route,
        .strict_route = p->tun.strict_route,
        .ipv6 = p->ipv6,
        .dns_redirect = p->dns.enable,
        .table = (uint32_t)p->tun.table_index,
        .rule_prio = (uint32_t)p->tun.rule_index,
        .n_include = p->tun.route_address.n,
        .include = p->tun.route_address.v,
        .n_exclude = p->tun.route_exclude.n,
        .exclude = p->tun.route_exclude.v,
    };

    if (p->tun.device)
        snprintf(want.device, sizeof(want.device), "%s", p->tun.device);
    return want;
}

static int ask_tun(struct engine *e, const struct profile *p, struct plat_tun_got *got, char why[256])
{
    struct plat_tun want = wish(p);

    if (want.n_include <= PLAT_MAX_ROUTES && want.n_exclude <= PLAT_MAX_ROUTES)
        return plat_worker_tun(e->worker, &want, got, why);
    snprintf(why, 256, "tun: at most %d route addresses and as many excluded ones", PLAT_MAX_ROUTES);
    return -EINVAL;
}

static int get_tun(struct engine *e)
{
    char why[256] = "";
    int r = ask_tun(e, e->pol->profile, &e->tun, why);

    if (r < 0)
        log_err(LOG_TUN, "%s", *why ? why : err_str(r));
    return r;
}

static int start_stack(struct engine *e)
{
    const struct profile *p = e->pol->profile;
    struct stack_opts so = {
        .loop = e->loop,
        .tun_fd = e->tun.tun_fd,
        .mtu = (uint32_t)p->tun.mtu,
        .vnet_hdr = e->tun.vnet_hdr,
        .csum = e->tun.csum,
        .tso = e->tun.tso,
        .uso = e->tun.uso,
        .own4 = p->tun.inet4,
        .own6 = p->tun.inet6,
        .sink = &e->sink,
        .max_flows = e->max_flows,
    };

    e->own4 = network_of(p->tun.inet4);
    e->own6 = network_of(p->tun.inet6);
    return stack_new(&so, &e->stack);
}

static int serve_dns(struct engine *e)
{
    int udp[2], tcp[2], nu = 0, nt = 0;

    if (!e->pol->profile->dns.enable)
        return 0;
    for (int i = 0; i < 2; i++) {
        if (e->tun.dns_udp[i] >= 0)
            udp[nu++] = e->tun.dns_udp[i];
        if (e->tun.dns_tcp[i] >= 0)
            tcp[nt++] = e->tun.dns_tcp[i];
    }
    dns_serve_listen(e->dns, e->pol->profile->dns.listen);
    return dns_serve_fds(e->dns, udp, nu, tcp, nt);
}

static void bound_flows(struct engine *e)
{
    uint64_t fds = plat_raise_nofile();

    e->max_flows = FLOWS_MAX;
    if (fds < FLOWS_MAX + FDS_RESERVED)
        e->max_flows = fds > 2 * FDS_RESERVED ? (uint32_t)fds - FDS_RESERVED : (uint32_t)fds / 2;
}

/* A copy of a file's bytes and its name, for later; none when there is no file. */
int input_copy(const struct cfg_input *in, struct cfg_input *out)
{
    size_t name_len = in && in->name ? strlen(in->name) : 0;
    char *bytes;

    *out = (struct cfg_input){ 0 };
    if (!in || !in->name)
        return 0;
    if (!(bytes = malloc(in->len + name_len + 1)))
        return -ENOMEM;
    if (in->len)
        memcpy(bytes, in->bytes, in->len);
    memcpy(bytes + in->len, in->name, name_len + 1);
    *out = *in;
    out->bytes = bytes;
    out->name = bytes + in->len;
    return 0;
}

void input_free(struct cfg_input *in)
{
    free((char *)in->bytes);
    *in = (struct cfg_input){ 0 };
}

static int open_privileged(void *arg, const struct endpoint *at, bool udp)
{
    struct engine *e = arg;

    return plat_worker_listen(e->worker, at, udp);
}

void eng_listening(struct engine *e, const struct endpoint *at, bool udp, int fd)
{
    dns_listening(e->dns, at, udp, fd);
}

/* What name servers said, and that some were not there, was true of another network. */
static void on_network(struct plat_network *n)
{
    struct engine *e = container_of(n, struct engine, network);
    unsigned lost = sock_moved();

    log_info(LOG_MAIN, "the network is another one: answers of name servers are forgotten; %u connections are lost with the old one", lost);
    out_set_moved(e->pol->outs);
    dns_flush(e->dns);
}

static int start(struct engine *e, const struct cfg_input *profile, const struct cfg_input *local)
{
    struct dns_opts dopt;
    int r;

    diag_init(&e->diag, profile->name, NULL, 0, false);
    e->pol = policy_load(profile, local, &e->env, &e->diag);
    if (!e->pol) {
        diag_print(&e->diag, stderr, isatty(2));
        return -EINVAL;
    }
    if ((r = input_copy(local, &e->local)) < 0 || (r = input_copy(profile, &e->body)) < 0)
        return r;
    e->pol->loop = e->loop;
    e->mode = e->pol->profile->mode;
    log_threshold = e->pol->profile->log_level;
    e->env.ipv6 = e->pol->profile->ipv6;
    dopt = (struct dns_opts){ .loop = e->loop,
                              .profile = e->pol->profile,
                              .lists = e->pol->lists,
                              .state_dir = e->state_dir,
                              .ways = &e->ways,
                              .privileged = open_privileged,
                              .arg = e };
    if ((r = dns_new(&dopt, &e->dns, &e->diag)) == 0)
        ways_check(e->pol, e->dns, &e->diag);
    diag_print(&e->diag, stderr, isatty(2));
    diag_drop_bytes(&e->diag);
    if (r < 0)
        return r;
    e->env.resolver = dns_resolver(e->dns);
    selected_load(e);
    bound_flows(e);
    if ((r = set_hijack(e, e->pol->profile)) < 0 || (r = map_init(&e->sources, 16)) < 0 || (r = udp_init(e)) < 0 || (r = refresh_init(e)) < 0 ||
        (r = health_begin(e)) < 0)
        return r;
    if (!e->pol->profile->tun.enable)
        log_warn(LOG_TUN, "tun.enable is false: there is no device, and the machine's traffic goes its usual way");
    else if ((r = get_tun(e)) < 0 || (r = start_stack(e)) < 0)
        return r;
    probe_start(e);
    e->network.changed = on_network;
    if ((r = plat_network_watch(&e->network, e->loop, e->tun.device)) < 0)
        log_warn(LOG_PLAT, "a change of the network will not be noticed: %s", err_str(r));
    return serve_dns(e);
}

int eng_new(const struct eng_opts *o, const struct cfg_input *profile, const struct cfg_input *local, struct engine **out)
{
    struct engine *e = calloc(1, sizeof(*e));
    int r;

    if (!e)
        return -ENOMEM;
    e->loop = o->loop;
    e->worker = o->worker;
    e->profile_name = profile->name;
    e->state_dir = o->state_dir;
    e->version = o->version;
    e->env.loop = o->loop;
    e->env.state_dir = o->state_dir;
    e->sink = (struct flow_sink){ tcp_sink, udp_sink, ping_sink };
    e->ways = ways_dialer();
    e->tun = (struct plat_tun_got){ .tun_fd = -1, .dns_udp = { -1, -1 }, .dns_tcp = { -1, -1 } };
    conns_init(e);
    ping_init(e);
    if ((r = start(e, profile, local)) < 0) {
        eng_free(e);
        return r;
    }
    *out = e;
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void eng_free(struct engine *e)
{
    if (!e)
        return;
    eng_kill(e, NULL);
    plat_network_unwatch(&e->network);
    probe_stop(e);
    health_end(e);
    refresh_fini(e);
    ping_fini(e);
    loop_turn(e->loop, 0); /* the killed are freed at the end of a turn */
    if (e->stack)
        stack_free(e->stack);
    if (e->dns)
        dns_free(e->dns);
    loop_turn(e->loop, 0);
    udp_fini(e);
    map_fini(&e->sources);
    conns_fini(e);
    if (e->pol)
        e->pol->loop = NULL; /* the loop ends, too */
    policy_put(e->pol);
    close_fd(&e->tun.tun_fd);
    for (int i = 0; i < 2; i++) {
        close_fd(&e->tun.dns_udp[i]);
        close_fd(&e->tun.dns_tcp[i]);
    }
    diag_fini(&e->diag);
    input_free(&e->local);
    input_free(&e->body);
    free(e->hijack);
    free(e);
}

/* The supervisor puts the new routes in force and keeps the profile for a worker to come. What a living device cannot change is said, and
 * the rest is used. */
static int tell_supervisor(struct engine *e, const struct profile *p, struct diag *d)
{
    struct plat_tun_got got;
    char why[256] = "";
    int r;

    if (p->tun.enable != (e->stack != NULL))
        log_warn(LOG_TUN, "tun.enable cannot change while shunt runs: restart it");
    else if (e->stack && ask_tun(e, p, &got, why) < 0)
        log_warn(LOG_TUN, "%s", why);
    if ((r = plat_worker_ready(e->worker, why)) < 0)
        diag_err(d, 0, 0, "tun", "bad-value", "%s", why);
    return r;
}

/* Everything that may refuse a new policy; d says why it did. */
static int try_policy(struct engine *e, struct policy *p, bool offered, struct diag *d)
{
    int r = dns_reconfigure(e->dns, p->profile, p->lists, d);

    if (r < 0) {
        diag_err(d, 0, 0, "dns", "bad-value", "the resolver could not be set up: %s", err_str(r));
        return r;
    }
    ways_check(p, e->dns, d);
    if (offered && (r = tell_supervisor(e, p->profile, d)) < 0)
        dns_reconfigure(e->dns, e->pol->profile, e->pol->lists, d);
    return r;
}

/* From here on p decides. */
static void use(struct engine *e, struct policy *p, struct diag *d)
{
    struct policy *old = e->pol;

    health_end(e);
    out_inherit_delays(p->outs, old->outs);
    e->pol = p;
    p->loop = e->loop;
    if (p->profile->mode != old->profile->mode)
        eng_set_mode(e, p->profile->mode); /* else what a person chose meanwhile stays */
    e->env.ipv6 = p->profile->ipv6;
    log_threshold = p->profile->log_level;
    set_hijack(e, p->profile);
    dns_serve_listen(e->dns, p->profile->dns.enable ? p->profile->dns.listen : NULL);
    probe_start(e);
    selected_load(e);
    diag_fini(&e->diag);
    e->diag = *d;
    diag_drop_bytes(&e->diag);
    *d = (struct diag){ 0 };
    conns_fini(e); /* closed flows would keep the old profile alive */
    policy_put(old);
    if (health_begin(e) < 0)
        log_warn(LOG_MAIN, "delays are not tested: out of memory");
}

int eng_reload(struct engine *e, const struct cfg_input *profile, const struct cfg_input *local, bool offered, struct diag *d)
{
    struct cfg_input kept, body;
    struct policy *p;

    diag_init(d, profile->name, NULL, 0, false);
    if (input_copy(profile, &body) < 0 || input_copy(local ? local : &e->local, &kept) < 0) {
        input_free(&body);
        diag_err(d, 0, 0, "", "bad-value", "out of memory");
        return -EINVAL;
    }
    p = policy_load(profile, kept.len ? &kept : NULL, &e->env, d);
    if (!p || try_policy(e, p, offered, d) < 0) {
        policy_put(p);
        diag_set_source(d, 1, local ? local->name : e->local.name, local ? local->bytes : NULL, local ? local->len : 0);
        input_free(&kept);
        input_free(&body);
        return -EINVAL;
    }
    diag_set_source(d, 0, body.name, NULL, 0);
    diag_set_source(d, 1, kept.name, NULL, 0);
    use(e, p, d);
    input_free(&e->local);
    e->local = kept;
    input_free(&e->body);
    e->body = body;
    refresh_set(e);
    return 0;
}

void eng_adopt(struct engine *e, struct policy *p, struct diag *d)
{
    if (try_policy(e, p, false, d) < 0) {
        policy_put(p);
        return;
    }
    rules_inherit(p->rules, e->pol->rules);
    use(e, p, d);
    refresh_set(e);
}

/* Its lists are other. Without memory it goes on with the old ones. */
static void renew_dns(struct engine *e)
{
    struct diag known; /* said when the profile was loaded */

    diag_init(&known, e->profile_name, NULL, 0, false);
    if (dns_reconfigure(e->dns, e->pol->profile, e->pol->lists, &known) < 0)
        log_warn(LOG_DNS, "the lists of names could not be renewed: out of memory");
    diag_fini(&known);
}

void eng_adopt_rules(struct engine *e, struct policy *p, struct diag *d)
{
    struct policy *old = e->pol;

    rules_inherit(p->rules, old->rules);
    e->pol = p;
    p->loop = e->loop;
    if (content_in_dns(p->profile))
        renew_dns(e);
    if (p->specs->geo != old->specs->geo)
        refresh_set(e); /* a set came that needs a database, or went */
    diag_renew(&e->diag, "missing-data", "proxy-providers", d); /* the other messages are about the profile, which is the same */
    policy_put(old);
}

int eng_read_again(struct engine *e)
{
    return plat_worker_again(e->worker);
}

const char *eng_file(struct engine *e)
{
    return e->profile_name;
}

struct loop *eng_loop(struct engine *e)
{
    return e->loop;
}

struct policy *eng_policy(struct engine *e)
{
    return e->pol;
}

const struct profile *eng_profile(struct engine *e)
{
    return e->pol->profile;
}

struct dns *eng_dns(struct engine *e)
{
    return e->dns;
}

enum mode eng_mode(const struct engine *e)
{
    return e->mode;
}

void eng_set_mode(struct engine *e, enum mode m)
{
    int r;

    if (m == e->mode)
        return;
    log_info(LOG_MAIN, "mode %s", mode_names[m]);
    e->mode = m;
    if ((r = plat_worker_mode(e->worker, m)) < 0)
        log_warn(LOG_MAIN, "the mode is in force but would not survive a crash: %s", err_str(r));
}

void eng_resume(struct engine *e)
{
    int m = e->worker->mode;

    if (m >= 0 && m <= MODE_DIRECT) /* else a worker of ours did not say it */
        eng_set_mode(e, (enum mode)m);
}

int eng_select(struct engine *e, struct outbound *group, const char *member)
{
    int r = out_select(group, member);

    if (r == 0)
        selected_save(e, group->name, member);
    return r;
}

int eng_unpin(struct engine *e, struct outbound *group)
{
    bool pinned = out_pinned(group);
    int r = out_unpin(group);

    if (pinned)
        selected_save(e, group->name, NULL);
    return r;
}

const struct diag *eng_diag(struct engine *e)
{
    return &e->diag;
}

static void rates(const struct engine *e, uint64_t *up, uint64_t *down)
{
    uint64_t sec = loop_now(e->loop) / 1000;

    *up = *down = 0;
    if (sec == e->rate.sec) {
        *up = e->rate.last_up;
        *down = e->rate.last_down;
    } else if (sec == e->rate.sec + 1) {
        *up = e->rate.now_up;
        *down = e->rate.now_down;
    }
}

void eng_status(struct engine *e, struct eng_status *st)
{
    memset(st, 0, sizeof(*st));
    st->uptime_ms = loop_now(e->loop) - e->worker->born_ms;
    st->up_total = e->up_total;
    st->down_total = e->down_total;
    rates(e, &st->up_rate, &st->down_rate);
    st->tun = e->tun;
    st->profile_name = e->body.name;
    if (e->pol->profile->dns.enable && e->tun.dns_port)
        snprintf(st->dns_listen, sizeof(st->dns_listen), "127.0.0.1:%u", e->tun.dns_port);
    dns_fake_usage(e->dns, &st->fake_used, &st->fake_size);
    st->system_asks = e->probe.asked;
    st->n_flows = e->n_flows;
    if (e->stack)
        stack_stats(e->stack, &st->stack);
    st->ping_direct = e->ping.possible;
    st->supervisor_pid = getppid();
}

static void end_explain(struct eng_explain *q)
{
    struct policy *p = q->pol;

    q->done(q);
    policy_put(p);
}

static void on_answer(struct lookup *l, int err)
{
    struct eng_explain *q = container_of(l, struct eng_explain, lookup);

    q->x.n_answer = err ? 0 : l->n;
    memcpy(q->x.answer, l->addr, sizeof(q->x.answer));
    q->x.may_ask = false;
    policy_explain(q->pol, &q->x);
    end_explain(q);
}

void eng_explain_hurry(struct eng_explain *q)
{
    q->e->env.resolver->cancel(q->e->env.resolver, &q->lookup);
    on_answer(&q->lookup, -ERR_CLOSED);
}

/* What a program is given for a name is an address that nobody has; explained is the flow that goes to it. */
static bool explain_name(struct engine *e, struct eng_explain *q)
{
    struct flow_meta *m = &q->x.meta;

    m->orig = m->dst.at;
    if (name_behind(e, m) == 0) {
        if (m->host_from != HOST_NONE) {
            snprintf(q->host, sizeof(q->host), "%s", m->dst.host);
            m->dst.host = q->host; /* the answer may come in a later turn */
        }
        return true;
    }
    m->dst.at = m->orig;
    q->x.action = EXPLAIN_REJECT;
    snprintf(q->x.note, sizeof(q->x.note), "a fake address without a name: the flow is refused, unless a sniffer looks at its port");
    return false;
}

void eng_explain(struct engine *e, struct eng_explain *q)
{
    struct resolver *res = e->env.resolver;

    q->e = e;
    q->pol = policy_get(e->pol); /* names and outbounds in the answer live in it */
    q->x.mode = e->mode;
    if (addr_is_set(&q->x.meta.dst.at.ip) && !explain_name(e, q)) {
        end_explain(q);
        return;
    }
    if (q->x.meta.dst.host && !addr_is_set(&q->x.meta.dst.at.ip) && res->known)
        res->known(res, q->x.meta.dst.host, &q->x.meta.dst.at.ip);
    policy_explain(q->pol, &q->x);
    if (q->x.asks) {
        q->lookup = (struct lookup){ .host = q->x.meta.dst.host, .why = LOOKUP_RULES, .done = on_answer };
        if (res->lookup(res, &q->lookup) == 0)
            return;
        q->x.may_ask = false;
        policy_explain(q->pol, &q->x);
    }
    end_explain(q);
}
