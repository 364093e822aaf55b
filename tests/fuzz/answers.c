/*
 * answers.c - what the servers of socks5, http and vless say before the destination does, and datagrams of a SOCKS5 relay
 *
 * The nodes are dialled as the engine does; what carries their bytes is the input. The first byte chooses the pieces it comes in, the second the
 * node, or a datagram of the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "outbound/private.h"
#include "outbound/socks5.h"
#include "tests/fuzz/stream.h"

static const char profile[] = "proxies:\n"
                              "  - {name: s, type: socks5, server: 192.0.2.1, port: 1, username: u, password: p}\n"
                              "  - {name: b, type: socks5, server: 192.0.2.1, port: 1}\n"
                              "  - {name: h, type: http, server: 192.0.2.1, port: 1, username: u, password: p}\n"
                              "  - {name: v, type: vless, server: 192.0.2.1, port: 1, uuid: b831381d-6324-4d53-ad4f-8cda48b30811}\n";
static const char *const names[] = { "s", "b", "h", "v" };

static struct out_env env;
static struct outbound *nodes[4], below;
static struct fuzz_down down;

/* ---- the outbound below ---- */

static struct dial *wanted;
static struct job job;

static void on_job(struct job *j)
{
    out_dial_done(&below, wanted, &down.s, 0);
}

static int give(struct outbound *o, struct dial *d)
{
    wanted = d;
    loop_defer(fuzz_loop, &job);
    return 0;
}

static const struct outbound_ops below_ops = { .type = "input", .action = OUT_PROXY, .dial = give };

/* ---- the nodes above ---- */

static int no_lookup(struct resolver *r, struct lookup *l)
{
    return -ERR_NAME;
}

static bool done;

static void on_done(struct dial *d, struct stream *s, int err)
{
    done = true;
    if (s)
        fuzz_drain(s);
}

static void datagram(const uint8_t *b, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    struct sender from;
    struct span payload;

    if (!copy)
        abort();
    memcpy(copy, b, n);
    if (socks5_udp_open(copy, n, &from, &payload) == 0 &&
        (payload.p < copy || payload.p + payload.len != copy + n || addr_is_set(&from.at.ip) == (*from.host != 0)))
        abort();
    free(copy);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static struct resolver none = { .lookup = no_lookup };
    struct diag d;
    struct profile *p;
    struct out_set *s;

    fuzz_stream_init();
    env.loop = fuzz_loop;
    env.resolver = &none;
    diag_init(&d, "fuzz", profile, sizeof(profile) - 1, false);
    if (!(p = profile_load(profile, sizeof(profile) - 1, &d)) || !(s = out_set_new(p, &env, &d)))
        abort();
    job.cb = on_job;
    below = (struct outbound){ .ops = &below_ops, .env = &env };
    for (int i = 0; i < 4; i++) {
        nodes[i] = out_find(s, names[i]);
        nodes[i]->via = &below;
    }
    diag_fini(&d);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dial d = { .to = { .host = "dest.example", .at.port = 443 }, .done = on_done };
    struct outbound *o;
    uint8_t which;

    if (size < 2)
        return 0;
    which = data[1] % 5;
    fuzz_down_init(&down, data, size);
    down.p++;
    if (which == 4) {
        datagram(down.p, (size_t)(down.end - down.p));
        return 0;
    }
    done = false;
    o = nodes[which];
    if (out_dial(o, &d) < 0)
        abort();
    for (int turns = 0; turns < 4 && !done; turns++)
        loop_turn(fuzz_loop, 0);
    if (!done) /* what it got ended in the middle, and nobody says so before its time is over */
        out_cancel(o, &d);
    loop_turn(fuzz_loop, 0);
    return 0;
}
