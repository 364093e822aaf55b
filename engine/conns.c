/*
 * conns.c - live and closed flows as others see them
 *
 * A flow is known outside by a UUID: a random half made at start and its number, so an id is never reused and cannot be guessed.
 * The newest 256 ended flows are kept whole (record, name, reference to their policy) for `flows --closed`.
 */
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "engine/private.h"

void conns_init(struct engine *e)
{
    list_init(&e->flows);
    random_bytes(e->uuid_key, sizeof(e->uuid_key));
}

static void release(struct flow *f)
{
    free(f->host);
    free(f->sniffed);
    program_free(f->program);
    policy_put(f->pol);
}

static void record_free(struct flow *f)
{
    if (f)
        release(f);
    free(f);
}

void conns_fini(struct engine *e)
{
    for (unsigned i = 0; i < CLOSED_MAX; i++) {
        record_free(e->closed[i]);
        e->closed[i] = NULL;
    }
}

void conns_keep(struct engine *e, struct flow *f)
{
    struct flow **slot = &e->closed[e->closed_at];
    struct flow *copy = *slot;

    if (copy) {
        release(copy);
    } else if (!(copy = malloc(sizeof(*copy)))) {
        release(f);
        return;
    }
    *copy = *f;
    copy->meta.dst.host = copy->host;
    copy->born_ms = loop_now(e->loop) - f->born_ms; /* from here on: how long it lived */
    *slot = copy;
    e->closed_at = (e->closed_at + 1) % CLOSED_MAX;
}

static void uuid_of(const struct engine *e, uint64_t id, uint8_t out[16])
{
    memcpy(out, e->uuid_key, 8);
    for (int i = 0; i < 8; i++)
        out[8 + i] = (uint8_t)(id >> (56 - 8 * i));
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x80); /* RFC 9562 section 5.8: version 8, our own layout */
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static void view(struct engine *e, const struct flow *f, bool closed, struct conn_view *v)
{
    static const char *const states[] = { "name", "match", "dial", "relay", "closing" };

    memset(v, 0, sizeof(*v));
    v->id = f->id;
    uuid_of(e, f->id, v->uuid);
    v->meta = f->meta;
    v->up = f->up;
    v->down = f->down;
    v->start_unix_ms = f->born_unix_ms;
    v->age_ms = closed ? f->born_ms : loop_now(e->loop) - f->born_ms;
    v->rule_type = f->rule ? rule_type_name(f->rule->type) : "";
    v->rule_api = f->rule ? rule_type_api_name(f->rule->type) : "";
    v->rule_payload = f->rule ? f->rule->payload : "";
    v->n_chain = f->n_chain;
    for (int i = 0; i < f->n_chain; i++)
        v->chain[i] = f->chain[i]->name;
    v->dns_mode = f->meta.via == FLOW_VIA_INNER       ? "normal"
                  : f->meta.host_from == HOST_FAKEIP  ? "fake-ip"
                  : f->meta.host_from == HOST_REVERSE ? "redir-host"
                                                      : "normal";
    v->remote = f->meta.dst.at;
    v->state = closed ? "closed" : states[f->state];
}

void eng_each_flow(struct engine *e, bool closed, void (*fn)(void *arg, const struct conn_view *v), void *arg)
{
    struct conn_view v;

    if (closed) {
        for (unsigned i = 0; i < CLOSED_MAX; i++) {
            const struct flow *f = e->closed[(e->closed_at + i) % CLOSED_MAX];

            if (f) {
                view(e, f, true, &v);
                fn(arg, &v);
            }
        }
        return;
    }
    list_each_safe (n, tmp, &e->flows) {
        view(e, container_of(n, struct flow, node), false, &v);
        fn(arg, &v);
    }
}

unsigned eng_kill(struct engine *e, const uint8_t *uuid)
{
    uint8_t id[16];
    unsigned n = 0;

    list_each_safe (node, tmp, &e->flows) {
        struct flow *f = container_of(node, struct flow, node);

        uuid_of(e, f->id, id);
        if (f->state == FLOW_CLOSING || (uuid && memcmp(uuid, id, 16) != 0))
            continue;
        f->kill(f, -ERR_CLOSED);
        n++;
    }
    return n;
}
