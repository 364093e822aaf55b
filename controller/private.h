/*
 * private.h - what the files of controller/ share
 */
#ifndef CONTROLLER_PRIVATE_H
#define CONTROLLER_PRIVATE_H

#include <jansson.h>
#include <microhttpd.h>

#include "controller/controller.h"
#include "core/list.h"

#define BODY_MAX (1u << 20)

/* ---- access.c: pure ---- */

struct access_conf {
    const char *secret;          /* NULL or "" = none */
    const char *host;            /* the configured host without port, NULL = loopback */
    struct cfg_strs origins;
};
struct access_req {
    bool local;                  /* came by the Unix socket: all is granted */
    const char *method, *host, *origin, *authorization, *token, *content_type;
    bool websocket, has_body;
    bool doh;                    /* for the DNS end-point: no secret, and a body of its own type */
};
/* 0 = granted; else the HTTP status to answer: 401, 403. *cors is set when the answer may carry CORS headers for the origin. */
int access_check(const struct access_conf *c, const struct access_req *r, bool *cors);
/* Constant-time comparison of equal-length digests. */
bool access_same_secret(const char *a, const char *b);

/* Failures per peer: 10 a minute, then 429. */
#define FAIL_PEERS 64
struct access_fails {
    struct {
        struct addr peer;
        uint64_t since_ms;
        unsigned n;
    } slot[FAIL_PEERS];
};
void access_failed(struct access_fails *f, const struct addr *peer, uint64_t now_ms);
bool access_blocked(const struct access_fails *f, const struct addr *peer, uint64_t now_ms);

/* ---- server.c ---- */

struct listener {
    struct ctl *ctl;
    struct MHD_Daemon *daemon;
    struct io io;
    struct timer timer;
    bool local;
};

struct ctl {
    struct engine *eng;
    struct loop *loop;
    char *state_dir, *at; /* at: the TCP address in use, for status */
    char *wanted;         /* external-controller, as it is written */
    struct listener unix_socket, tcp;
    struct access_conf access;
    char *host, *secret;
    struct access_fails fails;
    struct list_head subs;
    struct list_head asked;      /* questions to the resolver that are not answered yet */
    struct list_head explains;   /* requests that wait for the address of a name */
    struct list_head refreshing; /* requests that wait for a provider */
    struct list_head testing;    /* requests that wait for delays */
    struct list_head reloads;    /* requests that wait for the files of the supervisor */
    struct timer tick;
    enum log_level log_level;
};

struct request {
    struct ctl *ctl;
    struct listener *listener;
    struct MHD_Connection *conn;
    const char *method, *path; /* path as it came, not decoded */
    char *body;
    size_t body_len;
    bool too_big, checked;
    bool cors;
    const char *origin;
    char *arg[3];              /* decoded path parameters */
    int n_arg;
    bool suspended;            /* an answer comes later (explain, providers, delays, reload) */
    json_t *later;
    struct MHD_Response *later_raw; /* instead of JSON */
    int later_status;
    struct eng_explain *explain;
};

/* Has something to run: MHD must be called (after a resume). */
void listener_kick(struct listener *l);
enum MHD_Result answer_json(struct request *q, int status, json_t *j); /* takes j over */
enum MHD_Result answer_empty(struct request *q, int status);
enum MHD_Result answer_error(struct request *q, int status, const char *text);
enum MHD_Result queue_response(struct request *q, int status, struct MHD_Response *r);
enum MHD_Result answer_later(struct request *q); /* what later, later_raw and later_status say */
bool is_websocket(struct MHD_Connection *conn);
const char *query_arg(struct request *q, const char *key); /* as it came: the server decodes nothing, for the path must not be */

/* ---- routes.c ---- */

enum MHD_Result route(struct request *q);
/* Answers what waits for a name: a listener must not end while a connection is suspended. */
void explain_hurry(struct ctl *c);
/* A query argument, decoded; the caller frees. NULL: it is not there, or no memory. */
char *query_text(struct request *q, const char *key);
/* %XX once; the caller frees. NULL: no memory. */
char *percent_decode(const char *s, size_t n);

/* The body as a JSON object, the caller's; NULL: it is none. */
json_t *body_object(struct request *q);

/* ---- reload.c ---- */

enum MHD_Result put_configs(struct request *q);
/* The controller ends: who waits for a verdict is told. */
void forget_reloads(struct ctl *c);

/* ---- dns.c ---- */

enum MHD_Result get_dns_query(struct request *q);
enum MHD_Result post_dns_flush(struct request *q);
enum MHD_Result post_fakeip_flush(struct request *q);
/* The RFC 8484 end-point, if the profile has one. */
bool is_doh(const struct request *q);
enum MHD_Result serve_doh(struct request *q);
/* The controller ends: who waits for an answer is told. */
void dns_forget_asked(struct ctl *c);

/* ---- providers.c ---- */

enum MHD_Result put_rule_provider(struct request *q);
enum MHD_Result put_proxy_provider(struct request *q);
enum MHD_Result put_geo(struct request *q);  /* one database */
enum MHD_Result post_geo(struct request *q); /* all of them */
/* The controller ends: who waits for a provider is told. */
void forget_refreshing(struct ctl *c);

/* ---- delays.c ---- */

enum MHD_Result get_proxy_delay(struct request *q);
enum MHD_Result get_group_delay(struct request *q);
enum MHD_Result get_provider_check(struct request *q);
enum MHD_Result get_member_check(struct request *q);
enum MHD_Result get_member(struct request *q);
/* The controller ends: who waits for delays is told. */
void forget_testing(struct ctl *c);

/* ---- json.c ---- */

json_t *json_proxy(struct outbound *o);
json_t *json_proxies(struct ctl *c);
json_t *json_group_list(struct ctl *c);
json_t *json_rules(struct ctl *c);
json_t *json_configs(struct ctl *c);
json_t *json_connections(struct ctl *c, bool closed);
json_t *json_status(struct ctl *c);
json_t *json_traffic(struct ctl *c);
json_t *json_providers(struct ctl *c);
json_t *json_rule_providers(struct ctl *c);
json_t *json_provider_list(struct ctl *c);

/* ---- stream.c ---- */

enum stream_kind { SUB_TRAFFIC, SUB_MEMORY, SUB_LOGS, SUB_CONNECTIONS };
enum MHD_Result stream_open(struct request *q, enum stream_kind kind, unsigned interval_ms, enum log_level level, bool structured);
void stream_init(struct ctl *c);
void stream_fini(struct ctl *c);

#endif
