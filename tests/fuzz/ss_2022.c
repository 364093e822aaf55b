/*
 * ss_2022.c - what a Shadowsocks 2022 server may say: a stream of chunks behind its head, and datagrams of its sessions
 *
 * A fuzzer cannot guess a tag, so the target is the server: it hears our request's salt, seals what the input says, true or not, and spoils
 * it where the input says so. What comes out must be what was true, and nothing that was a lie or a recording. Draws and clock are made to
 * repeat.
 *
 *   kind, method | then, by kind:
 *     stream     size of the pieces | first chunk | its own salt or ours | opening, then: a chunk, a long one, one that lies | raw bytes |
 *                a flipped bit
 *     datagrams  each: session, what is not as usual | seconds later | number | padding | opening | sender | payload | a flipped bit
 *     neither    bytes as they are
 *   opening: which lies | each of them
 */
#include <sys/random.h>
#include <time.h>

#include "outbound/blake3.h"
#include "outbound/private.h"
#include "outbound/ss.h"
#include "tests/fuzz/says.h"

#define FROM_SERVER   1
#define NOW           1700000000u
#define BLOCK         16 /* session and number of a datagram */
#define NONCE         24 /* of a ChaCha datagram */
#define N_KEYS        3
#define SESSIONS      4 /* of a server that restarts */
#define SERVER_ID     's', 'e', 'r', 'v', 'e', 'r', '.'
#define DATAGRAMS_MAX 8

static struct ss_key keys[N_KEYS];
static struct aead_key session_keys[N_KEYS][SESSIONS];
static uint64_t now;

ssize_t getrandom(void *p, size_t len, unsigned flags)
{
    memset(p, 7, len);
    return (ssize_t)len;
}

time_t time(time_t *t)
{
    if (t)
        *t = (time_t)now;
    return (time_t)now;
}

static void put_be(uint8_t *out, uint64_t v, int bytes)
{
    while (bytes--) {
        out[bytes] = (uint8_t)v;
        v >>= 8;
    }
}

enum { FALSE_TYPE = 1, OTHER_TIME = 2, FALSE_ANSWER = 4, ANY_TIME = 8, FALSE_LENGTH = 16 };

/* type | time | what it answers | a length: the head of a stream, the beginning of a datagram's body. Returns false when one of the first
 * three must be refused. *then: the time; *lie: what was added to the length. */
static bool put_opening(uint8_t *out, struct span answers, uint16_t len, struct rd *r, uint16_t *lie, uint64_t *then)
{
    uint8_t lies = rd_u8(r), type = lies & FALSE_TYPE ? rd_u8(r) : FROM_SERVER, wrong = lies & FALSE_ANSWER ? rd_u8(r) : 0;

    *then = lies & ANY_TIME ? rd_be64(r) : lies & OTHER_TIME ? now + (uint64_t)(int8_t)rd_u8(r) : now;
    *lie = lies & FALSE_LENGTH ? rd_be16(r) : 0;
    out[0] = type;
    put_be(out + 1, *then, 8);
    memcpy(out + 9, answers.p, answers.len);
    out[9 + wrong % answers.len] ^= wrong;
    put_be(out + 9 + answers.len, (uint16_t)(len + *lie), 2);
    return type == FROM_SERVER && *then + SS_SKEW_S - now <= 2 * SS_SKEW_S && !wrong;
}

/* ---- a stream ---- */

static uint8_t asked[SS_KEY_MAX]; /* our request's salt */

struct server {
    struct ss_dir dir;
    bool refused; /* nothing it says is an answer */
};

static void hear(struct fuzz_down *d, const char *text, size_t len)
{
    memcpy(asked, text, len < sizeof(asked) ? len : sizeof(asked));
    d->heard = NULL;
}

static void add_sealed(struct server *v, const void *b, size_t n)
{
    must(ss_seal(&v->dir, &(struct iovec){ (void *)b, n }, 1, says.wire + says.n_wire) == 0);
    says.n_wire += n + SS_TAG;
}

static void add_body(struct server *v, struct span body, bool lied)
{
    add_sealed(v, body.p, body.len);
    says.lied |= lied;
    says_plain(body.p, body.len);
}

static void chunk(struct server *v, struct span body, uint16_t lie)
{
    uint8_t len[2];

    put_be(len, (uint16_t)(body.len + lie), 2);
    add_sealed(v, len, 2);
    add_body(v, body, lie || !body.len);
}

static void begin(struct server *v, const struct ss_key *k, struct rd *r, bool was_asked)
{
    uint8_t own[SS_KEY_MAX] = "the salt of the server", head[SS22_FIXED + SS_KEY_MAX];
    struct span body = rd_span(r, rd_u8(r));
    bool echo = rd_u8(r) == 0xff, good;
    uint64_t then;
    uint16_t lie;

    good = put_opening(head, (struct span){ asked, k->len }, (uint16_t)body.len, r, &lie, &then);
    v->refused = !was_asked || echo || !good;
    says_begin();
    says_add(echo ? asked : own, k->len);
    must(ss_dir_init(&v->dir, k, says.wire) == 0);
    add_sealed(v, head, SS22_FIXED + k->len);
    add_body(v, body, v->refused || lie); /* the first may be empty */
}

static void step(struct server *v, struct rd *r)
{
    static const uint8_t zeros[UINT16_MAX];
    uint8_t op = rd_u8(r);
    uint16_t n;

    switch (op % 8) {
    case 0: says_raw(r); break;
    case 1: says_flip(r, op >> 5); break;
    case 2:
        n = rd_be16(r);
        chunk(v, rd_span(r, rd_u8(r)), n);
        break;
    case 3: /* takes its time: not many */
        n = rd_be16(r);
        chunk(v, (struct span){ zeros, says.n_wire < sizeof(zeros) ? n : n % 256 }, 0);
        break;
    default: chunk(v, rd_span(r, rd_u8(r)), 0);
    }
}

static void stream(const struct ss_key *k, struct rd *r, bool as_is, bool was_asked)
{
    struct fuzz_down down;
    struct server v = { 0 };
    bool answered = false;
    struct stream *s;

    fuzz_down_init(&down, r->p, rd_left(r));
    rd_skip(r, 1);
    memset(asked, 0, sizeof(asked));
    down.heard = hear;
    must((s = ss_stream_new(fuzz_loop, k, &down.s, (const uint8_t *)"\1\1\2\3\4\0\120", 7, &answered)) != NULL);
    if (was_asked)
        must(stream_write(s, NULL, 0) == 0);
    if (as_is) {
        fuzz_drain(s);
        must(!answered);
        return;
    }
    begin(&v, k, r, was_asked);
    while (says_more(r))
        step(&v, r);
    down.p = says.wire;
    down.end = says.wire + says.n_wire;
    if (down.portion < SIZE_MAX)
        down.portion += says.n_wire / FUZZ_PIECES;
    says_check(s, true);
    must(v.refused ? !answered : answered || says.doubt);
    ss_dir_fini(&v.dir);
}

/* ---- a node whose server is behind another, which hands on what we say it received ---- */

static struct pktsess below;

static int below_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    return 0;
}

static void below_close(struct pktsess *p)
{
}

static const struct pkt_ops below_ops = { .name = "below", .send = below_send, .close = below_close };

static int below_open(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    below = (struct pktsess){ .ops = &below_ops };
    *out = &below;
    return 0;
}

static const struct outbound_ops via_ops = { .type = "below", .open_pkt = below_open };
static struct out_env env;
static struct outbound via = { .ops = &via_ops, .env = &env, .name = "below", .udp = true };

/* ---- datagrams ---- */

static const struct dest senders[] = {
    { .at = { { .ver = 4, .b = { 1, 2, 3, 4 } }, 53 } },
    { .at = { { .ver = 6, .b = { 0x20, 1, 0xd, 0xb8, [15] = 1 } }, 443 } },
    { .host = "a.name", .at.port = 53 },
};
#define N_SENDERS (sizeof(senders) / sizeof(senders[0]))

/* What is said now, and whether it came out. */
static struct {
    uint8_t body[4096];
    size_t n_body, n_payload;
    unsigned sender; /* index; more: bytes of the input */
    bool sure, came; /* sure: sender and payload are known */
} said;

/* What came out so far. */
static struct heard {
    uint8_t session;
    uint64_t number, then;
} heard[DATAGRAMS_MAX];
static unsigned n_heard;

static bool is_from(const struct dest *from, const struct dest *sender)
{
    if (!sender->host)
        return !from->host && endpoint_eq(&from->at, &sender->at);
    return from->host && !strcmp(from->host, sender->host) && from->at.port == sender->at.port;
}

static void on_packet(struct pktsess *p, const struct dest *from, const void *buf, size_t len)
{
    must(!said.came && len <= said.n_body && !memcmp(buf, said.body + said.n_body - len, len));
    must(!said.sure || (len == said.n_payload && is_from(from, &senders[said.sender])));
    said.came = true;
}

static void receive(const uint8_t *b, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);

    must(exact != NULL);
    if (n)
        memcpy(exact, b, n);
    below.on_packet(&below, &(struct dest){ 0 }, exact, n);
    free(exact);
}

/* Returns the length. */
static size_t seal(const struct ss_key *k, const uint8_t block[BLOCK], uint8_t *out)
{
    bool chacha = !k->cipher->relays;
    size_t before = chacha ? NONCE : BLOCK;
    struct iovec piece[] = { { (void *)block, chacha ? BLOCK : 0 }, { said.body, said.n_body } };
    struct aead_key *key = &session_keys[k - keys][block[7]];

    if (chacha)
        memset(out, 9, NONCE);
    else
        must(aes_block(k->master, k->len, true, block, out) == 0);
    must(aead_seal(key, chacha ? out : block + 4, NULL, piece, 2, out + before) == 0);
    return before + piece[0].iov_len + said.n_body + SS_TAG;
}

/* again: a recording. next: nothing may keep it out, for its session is the newest, or the first, and its number new and not too old. */
static void recall(const struct heard *h, bool *again, bool *next)
{
    uint64_t top = 0;

    *again = false;
    *next = h->number != UINT64_MAX && (!n_heard || heard[n_heard - 1].session == h->session);
    for (unsigned i = 0; i < n_heard; i++) {
        bool same = heard[i].session == h->session && heard[i].number == h->number;

        *again |= same && heard[i].then == h->then;
        *next &= !same;
        if (heard[i].session == h->session && heard[i].number > top)
            top = heard[i].number;
    }
    *next &= h->number >= top || top - h->number < SS_WINDOW;
}

static void add(struct span s)
{
    memcpy(said.body + said.n_body, s.p, s.len);
    said.n_body += s.len;
}

/* Fills said. Returns false for what must be refused. */
static bool put_body(struct rd *r, uint8_t sender, size_t pad, uint64_t *then)
{
    static const uint8_t us[8] = { 7, 7, 7, 7, 7, 7, 7, 7 }, padding[4 * 255];
    uint8_t address[ATYP_MAX];
    struct span payload;
    uint16_t lie;
    bool good = put_opening(said.body, (struct span){ us, 8 }, (uint16_t)pad, r, &lie, then);

    said.n_body = 1 + 8 + 8 + 2;
    add((struct span){ padding, pad });
    said.sender = sender;
    add(sender < N_SENDERS ? (struct span){ address, atyp_put(address, &senders[sender]) } : rd_span(r, rd_u8(r)));
    payload = rd_span(r, rd_u8(r));
    add(payload);
    said.n_payload = payload.len;
    said.sure = sender < N_SENDERS && !lie;
    said.came = false;
    return good;
}

static void datagram(const struct ss_key *k, struct rd *r)
{
    uint8_t how = rd_u8(r), block[BLOCK] = { SERVER_ID, how % SESSIONS };
    static uint8_t out[NONCE + BLOCK + sizeof(said.body) + SS_TAG];
    struct heard h = { .session = how % SESSIONS };
    size_t n, pad;
    bool good, again, next;

    if (how & 4)
        now += rd_u8(r);
    h.number = how & 8 ? rd_be64(r) : rd_be16(r);
    put_be(block + 8, h.number, 8);
    pad = how & 16 ? 4u * rd_u8(r) : 0;
    good = put_body(r, how >> 6, pad, &h.then);
    n = seal(k, block, out);
    if (how & 32) {
        out[rd_be16(r) % n] ^= 1;
        good = false;
    }
    receive(out, n);
    recall(&h, &again, &next);
    must(said.came ? good && !again : !(good && said.sure && next));
    if (said.came)
        heard[n_heard++] = h;
}

static void datagrams(const struct ss_key *k, struct rd *r, bool as_is)
{
    struct outbound node = { .ops = &via_ops, .env = &env, .name = "node", .server = "server", .port = 1, .via = &via };
    struct pktsess *p;

    n_heard = 0;
    must(ss_pkt_open(&node, k, &p) == 0);
    p->on_packet = on_packet;
    must(pkt_send(p, &senders[0], "question", 8) == 0);
    loop_turn(fuzz_loop, 0);
    if (as_is) {
        said.came = true; /* nothing may */
        receive(r->p, rd_left(r));
    } else {
        for (int i = 0; i < DATAGRAMS_MAX && rd_left(r) && rd_ok(r); i++)
            datagram(k, r);
    }
    pkt_close(p);
    loop_turn(fuzz_loop, 0);
}

/* ---- what never changes ---- */

static void session_key(const struct ss_key *k, const uint8_t id[8], struct aead_key *out)
{
    uint8_t both[SS_KEY_MAX + 8], subkey[SS_KEY_MAX];

    memcpy(both, k->master, k->len);
    memcpy(both + k->len, id, 8);
    blake3_derive("shadowsocks 2022 session subkey", both, k->len + 8u, subkey, k->len);
    if (k->cipher->relays)
        aead_key_init(out, k->aead, subkey);
    else
        aead_key_init(out, aead_get(AEAD_XCHACHA20), k->master);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const nodes[N_KEYS][2] = {
        { "2022-blake3-aes-128-gcm", "gIGCg4SFhoeIiYqLjI2Ojw==:AAECAwQFBgcICQoLDA0ODw==" }, /* behind a relay */
        { "2022-blake3-aes-256-gcm", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" },
        { "2022-blake3-chacha20-poly1305", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" },
    };

    fuzz_stream_init();
    env.loop = fuzz_loop;
    for (int i = 0; i < N_KEYS; i++) {
        must(ss_key_init(&keys[i], ss_cipher_find(nodes[i][0]), nodes[i][1]) == 0);
        for (uint8_t n = 0; n < SESSIONS; n++)
            session_key(&keys[i], (const uint8_t[8]){ SERVER_ID, n }, &session_keys[i][n]);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_from(data, size);
    uint8_t word = rd_u8(&r);
    const struct ss_key *k = &keys[(word >> 4) % N_KEYS];

    now = NOW;
    if (word & 1)
        datagrams(k, &r, word & 2);
    else
        stream(k, &r, word & 2, !(word & 4));
    return 0;
}
