/*
 * stream.c - endless answers: /traffic, /memory, /logs, and /connections as WebSocket
 *
 * A subscriber gets one JSON object at a time: as a text frame (RFC 6455), or as a line of a chunked body. What cannot be sent waits in
 * the subscriber, at most 256 KiB; beyond that objects are dropped: a slow reader loses entries, never the others.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "controller/private.h"

#define WAITING_MAX (256u << 10)

struct sub {
    struct list_head node;
    struct ctl *ctl;
    struct listener *listener;
    enum stream_kind kind;
    unsigned interval_ms;
    uint64_t next_ms;
    enum log_level level;
    bool structured, first;
    char *out;
    size_t out_len;

    struct MHD_Connection *conn; /* chunked */
    bool suspended, gone;

    struct MHD_UpgradeResponseHandle *urh; /* WebSocket */
    struct io io;
    unsigned char in[256];
    size_t in_len, skip;
    struct job reap;
};

static void on_log(void *arg, enum log_level level, enum log_sys sys, const char *line);

/* The lowest level any subscriber wants decides what is made at all. */
static void set_sink(struct ctl *c)
{
    enum log_level lowest = LOG_SILENT;

    list_each_safe(n, tmp, &c->subs) {
        struct sub *s = container_of(n, struct sub, node);

        if (s->kind == SUB_LOGS && s->level < lowest)
            lowest = s->level;
    }
    log_set_sink(lowest == LOG_SILENT ? NULL : on_log, c, lowest);
}

static void reap(struct job *j)
{
    struct sub *s = container_of(j, struct sub, reap);

    free(s->out);
    free(s);
}

static void leave(struct sub *s)
{
    list_del(&s->node);
    set_sink(s->ctl);
}

static void close_ws(struct sub *s)
{
    leave(s);
    io_unwatch(&s->io);
    MHD_upgrade_action(s->urh, MHD_UPGRADE_ACTION_CLOSE);
    listener_kick(s->listener);
    loop_defer(s->ctl->loop, &s->reap);
}

/* ---- out ---- */

static void ws_flush(struct sub *s)
{
    while (s->out_len) {
        ssize_t n = send(s->io.fd, s->out, s->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            close_ws(s);
            return;
        }
        s->out_len -= (size_t)n;
        memmove(s->out, s->out + n, s->out_len);
    }
    io_want(&s->io, IO_READ | (s->out_len ? IO_WRITE : 0));
}

static bool append(struct sub *s, const void *data, size_t n)
{
    char *more;

    if (s->out_len + n > WAITING_MAX || !(more = realloc(s->out, s->out_len + n)))
        return false;
    s->out = more;
    memcpy(s->out + s->out_len, data, n);
    s->out_len += n;
    return true;
}

static void ws_frame(struct sub *s, uint8_t opcode, const char *data, size_t n)
{
    uint8_t head[10] = { (uint8_t)(0x80 | opcode) };
    size_t len = 2;

    if (n < 126) {
        head[1] = (uint8_t)n;
    } else if (n < 65536) {
        head[1] = 126;
        head[2] = (uint8_t)(n >> 8);
        head[3] = (uint8_t)n;
        len = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++)
            head[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
        len = 10;
    }
    if (s->out_len + len + n > WAITING_MAX && s->out_len)
        return;
    if (append(s, head, len))
        append(s, data, n);
}

static void push(struct sub *s, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

    json_decref(j);
    if (!text)
        return;
    if (s->urh) {
        ws_frame(s, 1, text, strlen(text));
        ws_flush(s);
    } else if (append(s, text, strlen(text)) && append(s, "\n", 1) && s->suspended) {
        s->suspended = false;
        MHD_resume_connection(s->conn);
        listener_kick(s->listener);
    }
    free(text);
}

static json_t *object_for(struct sub *s)
{
    bool first = s->first;

    s->first = false;
    switch (s->kind) {
    case SUB_TRAFFIC: return json_traffic(s->ctl);
    case SUB_MEMORY: return json_pack("{s:I, s:i}", "inuse", first ? (json_int_t)0 : (json_int_t)plat_rss(), "oslimit", 0);
    case SUB_CONNECTIONS: return json_connections(s->ctl, false);
    case SUB_LOGS: break;
    }
    return NULL;
}

static void on_tick(struct timer *t)
{
    struct ctl *c = container_of(t, struct ctl, tick);
    uint64_t now = loop_now(c->loop), next = UINT64_MAX;

    list_each_safe(n, tmp, &c->subs) {
        struct sub *s = container_of(n, struct sub, node);

        if (s->kind == SUB_LOGS)
            continue;
        if (s->next_ms <= now) {
            s->next_ms = now + s->interval_ms;
            next = s->next_ms < next ? s->next_ms : next;
            push(s, object_for(s)); /* may close s */
        } else if (s->next_ms < next) {
            next = s->next_ms;
        }
    }
    if (next != UINT64_MAX && !list_empty(&c->subs))
        timer_set(c->loop, t, next - now);
}

static void on_log(void *arg, enum log_level level, enum log_sys sys, const char *line)
{
    struct ctl *c = arg;

    list_each_safe(n, tmp, &c->subs) {
        struct sub *s = container_of(n, struct sub, node);
        char at[16];
        time_t now = time(NULL);
        struct tm tm;

        if (s->kind != SUB_LOGS || level < s->level)
            continue;
        localtime_r(&now, &tm);
        strftime(at, sizeof(at), "%H:%M:%S", &tm);
        push(s, s->structured ? json_pack("{s:s, s:s, s:s, s:[]}", "time", at, "level", level == LOG_WARN ? "warn" : log_level_name(level),
                                          "message", line, "fields")
                              : json_pack("{s:s, s:s}", "type", log_level_name(level), "payload", line));
    }
}

/* ---- in: only close and ping matter ---- */

/* Takes one frame off the front; false when it is not complete. A client frame's payload is masked (RFC 6455 section 5.3). */
static bool ws_take(struct sub *s)
{
    size_t len, head = 6;
    uint8_t opcode;

    if (s->in_len < 2)
        return false;
    opcode = s->in[0] & 15;
    len = s->in[1] & 127;
    if (len > 125) { /* nobody has to tell us that much: skipped */
        head = len == 126 ? 8 : 14;
        if (s->in_len < head)
            return false;
        len = len == 126 ? (size_t)s->in[2] << 8 | s->in[3] : (size_t)1 << 40;
        if (len > 1 << 20) {
            close_ws(s);
            return false;
        }
        s->skip = len - (s->in_len - head < len ? s->in_len - head : len);
        s->in_len = 0;
        return false;
    }
    if (s->in_len < head + len)
        return false;
    for (size_t i = 0; i < len; i++)
        s->in[head + i] ^= s->in[2 + i % 4];
    if (opcode == 8) {
        ws_frame(s, 8, "", 0);
        ws_flush(s);
        if (!list_empty(&s->node))
            close_ws(s);
        return false;
    }
    if (opcode == 9)
        ws_frame(s, 10, (char *)s->in + head, len);
    s->in_len -= head + len;
    memmove(s->in, s->in + head + len, s->in_len);
    return true;
}

static void on_ws(struct io *io, uint32_t ready)
{
    struct sub *s = container_of(io, struct sub, io);
    ssize_t n;

    if (ready & IO_WRITE)
        ws_flush(s);
    if (!(ready & IO_READ) || !s->io.handle)
        return;
    n = recv(io->fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close_ws(s);
        return;
    }
    if (s->skip) {
        size_t gone = s->skip < (size_t)n ? s->skip : (size_t)n;

        s->skip -= gone;
        memmove(s->in + s->in_len, s->in + s->in_len + gone, (size_t)n - gone);
        n -= (ssize_t)gone;
    }
    s->in_len += (size_t)n;
    while (s->io.handle && ws_take(s))
        ;
    if (s->io.handle && s->out_len)
        ws_flush(s);
}

/* ---- opening ---- */

static void begin(struct sub *s)
{
    struct ctl *c = s->ctl;

    list_append(&c->subs, &s->node);
    set_sink(c);
    s->next_ms = 0;
    timer_set(c->loop, &c->tick, 0);
}

static void on_upgraded(void *arg, struct MHD_Connection *conn, void *state, const char *extra, size_t extra_len, MHD_socket fd,
                        struct MHD_UpgradeResponseHandle *urh)
{
    struct sub *s = arg;

    s->urh = urh;
    s->io.cb = on_ws;
    if (extra_len < sizeof(s->in)) {
        memcpy(s->in, extra, extra_len);
        s->in_len = extra_len;
    }
    if (io_watch(s->ctl->loop, &s->io, fd, IO_READ) < 0) {
        MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
        loop_defer(s->ctl->loop, &s->reap);
        return;
    }
    begin(s);
}

static enum MHD_Result open_ws(struct request *q, struct sub *s)
{
    const char *key = MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, "Sec-WebSocket-Key");
    unsigned char digest[SHA_DIGEST_LENGTH], accept[32];
    struct MHD_Response *r;
    char both[128];

    if (!key || strlen(key) > 64) {
        free(s);
        return answer_error(q, 400, "Body invalid");
    }
    snprintf(both, sizeof(both), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key); /* RFC 6455 section 4.2.2 */
    SHA1((unsigned char *)both, strlen(both), digest);
    EVP_EncodeBlock(accept, digest, sizeof(digest));
    if (!(r = MHD_create_response_for_upgrade(on_upgraded, s))) {
        free(s);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Upgrade", "websocket");
    MHD_add_response_header(r, "Sec-WebSocket-Accept", (char *)accept);
    return queue_response(q, MHD_HTTP_SWITCHING_PROTOCOLS, r);
}

static ssize_t on_read(void *arg, uint64_t pos, char *buf, size_t max)
{
    struct sub *s = arg;
    size_t n = s->out_len < max ? s->out_len : max;

    if (s->gone)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!n) {
        s->suspended = true;
        MHD_suspend_connection(s->conn);
        return 0;
    }
    memcpy(buf, s->out, n);
    s->out_len -= n;
    memmove(s->out, s->out + n, s->out_len);
    return (ssize_t)n;
}

static void on_body_end(void *arg)
{
    struct sub *s = arg;

    if (!s->gone)
        leave(s);
    loop_defer(s->ctl->loop, &s->reap);
}

enum MHD_Result stream_open(struct request *q, enum stream_kind kind, unsigned interval_ms, enum log_level level, bool structured)
{
    struct sub *s = calloc(1, sizeof(*s));
    struct MHD_Response *r;

    if (!s)
        return MHD_NO;
    *s = (struct sub){ .ctl = q->ctl, .listener = q->listener, .kind = kind, .interval_ms = interval_ms, .level = level, .structured = structured,
                       .first = true, .conn = q->conn, .reap.cb = reap };
    list_init(&s->node);
    if (is_websocket(q->conn))
        return open_ws(q, s);
    if (!(r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, on_read, s, on_body_end))) {
        free(s);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", "application/json");
    MHD_set_connection_option(q->conn, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    begin(s);
    return queue_response(q, 200, r);
}

void stream_init(struct ctl *c)
{
    list_init(&c->subs);
    c->tick.cb = on_tick;
}

void stream_fini(struct ctl *c)
{
    timer_cancel(&c->tick);
    list_each_safe(n, tmp, &c->subs) {
        struct sub *s = container_of(n, struct sub, node);

        if (s->urh) {
            close_ws(s);
            continue;
        }
        s->gone = true;
        leave(s);
        if (s->suspended) {
            s->suspended = false;
            MHD_resume_connection(s->conn);
            listener_kick(s->listener);
        }
    }
    log_set_sink(NULL, NULL, LOG_SILENT);
}
