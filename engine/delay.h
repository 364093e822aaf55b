/*
 * delay.h - how long it takes to reach a web address through an outbound (clash-profile section 11, "Delay test")
 */
#ifndef ENGINE_DELAY_H
#define ENGINE_DELAY_H

#include "outbound/outbound.h"

#define DELAY_PATH_MAX 1024 /* a url, and what is asked for */

/* A url, read once. */
struct delay_url {
    bool tls;
    uint16_t port;
    char host[HOST_MAX + 1];         /* a name or an address */
    char authority[HOST_MAX + 1 + 8]; /* as the Host header has it */
    char path[DELAY_PATH_MAX];       /* with the query */
};
/* 0; -EINVAL: no http or https url, or one that is too long. */
int delay_url_parse(const char *url, struct delay_url *out);

/* Status codes that count; n 0: all. */
struct delay_expected {
    uint32_t n;
    struct cfg_range v[CFG_RANGES_MAX];
};

/* One test. Embedded, zeroed but for done. */
struct delay_test {
    void (*done)(struct delay_test *t, int err); /* once, from the loop: 0, or -err. The test may be started again in there, not freed */
    /* result, with err 0 or -ERR_STATUS */
    uint32_t ms; /* at least 1 */
    int status;
    /* private */
    struct outbound *o, *leaf; /* o: a reference, while it runs */
    struct delay_url url;
    struct delay_expected expected;
    struct flow_meta meta;
    struct dial dial;
    struct stream *s;
    struct tls_client *tls;
    struct timer patience;
    struct job job;
    uint64_t began_ms, asked_ms;
    char *answer;
    size_t n_answer;
    bool unified, again, dialling;
    int err;
};

/* Dials through o (a group: as it picks now), sends HEAD, waits for the head of the answer. unified: asks twice on one connection and takes
 * the second time, so that handshakes do not count. done comes after timeout_ms at the latest. 0 or -ENOMEM. */
int delay_start(struct delay_test *t, struct outbound *o, const struct delay_url *url, const struct delay_expected *expected, bool unified,
                unsigned timeout_ms);
void delay_cancel(struct delay_test *t); /* harmless when none runs; no done after */

#endif
