/*
 * transport_tls.c - TLS over streams of every temper, against a server made of OpenSSL's own parts
 *
 *   talker ── our layer ── pair ── tlspeer
 */
#include "transport_tlspeer.h"

#include <stdio.h>
#include <unistd.h>

#include "core/layer.h"
#include "transport/transport.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct ident ca, good, inter, deep; /* deep is signed by inter, inter by ca */
static char *ca_pem;
static struct tls_roots *roots;

static int set_up(void **state)
{
    char why[TR_WHY];

    ca = ident_new(&(struct ident_spec){ .name = "test root", .ca = true }, NULL);
    good = ident_new(&(struct ident_spec){ .name = "good", .san = "DNS:test.example,DNS:*.wild.example,IP:192.0.2.1" }, &ca);
    inter = ident_new(&(struct ident_spec){ .name = "test intermediate", .ca = true }, &ca);
    deep = ident_new(&(struct ident_spec){ .name = "deep", .san = "DNS:test.example" }, &inter);
    ca_pem = ident_cert_pem(&ca);
    assert_int_equal(tls_roots_new((const char *const[]){ ca_pem }, 1, &roots, why), 0);
    return 0;
}

static int tear_down(void **state)
{
    ident_free(&ca);
    ident_free(&good);
    ident_free(&inter);
    ident_free(&deep);
    free(ca_pem);
    tls_roots_free(roots);
    transport_trim();
    return 0;
}

/* ---- a connection ---- */

struct rig {
    struct loop *l;
    struct mempair *pair; /* b is ours, with the temper */
    struct tls_client *client;
    SSL_CTX *ctx;
    struct tlspeer peer;
    struct stream *s;
    struct talker us;
};

static struct tls_client *client_of(const struct tls_config *cfg)
{
    struct tls_client *c = NULL;
    char why[TR_WHY] = "";

    if (tls_client_new(cfg, &c, why) < 0)
        fail_msg("%s", why);
    return c;
}

static void connect_again(struct rig *r, const struct temper *t)
{
    r->pair = mempair_new(r->l, t);
    tlspeer_init(&r->peer, r->ctx, &r->pair->a.s);
    r->peer.tx.seed = 2;
    r->peer.rx.seed = 1;
    assert_int_equal(tls_start(r->client, r->l, &r->pair->b.s, &r->s), 0);
    talk_init(&r->us, r->s, 1, 2, 0);
}

static void rig_open(struct rig *r, const struct tls_config *cfg, const struct ident *id, int version, const struct temper *t)
{
    struct tls_config c = cfg ? *cfg : (struct tls_config){ .name = "test.example" };

    if (!c.roots)
        c.roots = roots;
    *r = (struct rig){ .l = loop_new(), .client = client_of(&c), .ctx = tlspeer_ctx(id, version) };
    connect_again(r, t);
}

static void turns(struct rig *r, int n)
{
    while (n--) {
        loop_turn(r->l, 0);
        tlspeer_turn(&r->peer);
    }
}

static void disconnect(struct rig *r)
{
    if (r->s)
        stream_close(r->s, -ERR_CLOSED);
    r->s = NULL;
    loop_turn(r->l, 0);
    loop_turn(r->l, 0);
    tlspeer_fini(&r->peer);
    mempair_free(r->pair);
}

static void rig_close(struct rig *r)
{
    disconnect(r);
    SSL_CTX_free(r->ctx);
    tls_client_free(r->client);
    loop_free(r->l);
    buf_trim();
}

/* Until it is open (0) or failed. */
static int shaken(struct rig *r)
{
    for (int i = 0; i < 3000 && !r->us.opened && !r->us.err; i++)
        turns(r, 1);
    assert_true(r->us.opened || r->us.err);
    return r->us.err;
}

static const struct temper tempers[] = {
    { 0 },
    { .cap = 1 },
    { .cap = 100, .again_every = 3 },
    { .read_max = 1, .again_every = 7 },
    { .write_max = 1 },
    { .read_max = 5, .write_max = 16000 },
    { .cap = 16000, .read_max = 1447, .again_every = 4 },
    { .cap = 262144 },
};

static void test_bytes_both_ways_through_every_temper(void **state)
{
    static const size_t sizes[] = { 0, 1, 16384, 16385, 300000 };

    for (size_t t = 0; t < COUNT(tempers); t++)
        for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
            bool slow = tempers[t].cap == 1 || tempers[t].read_max == 1 || tempers[t].write_max == 1;
            size_t n = sizes[i % COUNT(sizes)];
            struct rig r;

            if (slow && n > 1000)
                n = 1000;
            rig_open(&r, NULL, &good, i < COUNT(sizes) ? TLS1_2_VERSION : TLS1_3_VERSION, &tempers[t]);
            r.us.send = n;
            r.us.finish = true;
            r.peer.send = n;
            r.peer.finish = true;
            talk_start(&r.us);
            for (int k = 0; k < 40000 && !(r.us.eof && r.peer.eof) && !r.us.err; k++)
                turns(&r, 1);
            assert_int_equal(r.us.err, 0);
            if (!r.us.eof || !r.peer.eof)
                fail_msg("temper %zu, %zu bytes: got %zu, %zu", t, n, r.us.in.at, r.peer.rx.at);
            assert_int_equal(r.us.in.at, n);
            assert_int_equal(r.peer.rx.at, n);
            rig_close(&r);
        }
}

static void test_an_idle_stream_holds_no_buffer(void **state)
{
    struct layer *y;
    struct rig r;

    rig_open(&r, NULL, &good, 0, NULL);
    r.us.send = r.peer.send = 100000;
    talk_start(&r.us);
    while (r.us.in.at < 100000 || r.peer.rx.at < 100000)
        turns(&r, 1);
    y = container_of(r.s, struct layer, s);
    assert_null(y->in);
    assert_null(y->out);
    rig_close(&r);
}

static void test_small_pieces_make_full_records(void **state)
{
    static uint8_t b[16384];
    struct iovec iov[64];
    uint8_t head[5];
    struct rig r;

    rig_open(&r, NULL, &good, TLS1_3_VERSION, NULL);
    assert_int_equal(shaken(&r), 0);
    turns(&r, 2);
    for (int i = 0; i < 64; i++)
        iov[i] = (struct iovec){ b + 256 * i, 256 };
    assert_int_equal(stream_write(r.s, iov, 64), 16384);
    assert_int_equal(r.pair->a.len, 5 + 16384 + 1 + 16);
    iov_copy(&(struct iovec){ head, 5 }, 1, &(struct iovec){ r.pair->a.ring + r.pair->a.at, 5 }, 1);
    assert_int_equal(head[3] << 8 | head[4], 16384 + 17);
    rig_close(&r);
}

/* ---- whom we trust ---- */

static void test_certificates_are_told_apart(void **state)
{
    static const struct ident_spec specs[] = {
        { .name = "another", .san = "DNS:another.example" },
        { .name = "old", .san = "DNS:test.example", .from_s = -7200, .to_s = -3600 },
        { .name = "young", .san = "DNS:test.example", .from_s = 3600, .to_s = 7200 },
        { .name = "client", .san = "DNS:test.example", .usage = "clientAuth" },
        { .name = "self", .san = "DNS:test.example" },
        { .name = "stranger", .san = "DNS:test.example" },
        { .name = "server", .san = "DNS:test.example", .usage = "serverAuth" },
        { .name = "wild", .san = "DNS:*.example" },        /* a whole top-level domain */
        { .name = "mail", .san = "email:a@test.example" }, /* the common name does not count */
    };
    static const int want[] = { -ERR_CERT_NAME, -ERR_CERT_EXPIRED, -ERR_CERT_EARLY, -ERR_CERT_PURPOSE, -ERR_CERT_SELF, -ERR_CERT_ISSUER, 0,
                                -ERR_CERT_NAME, -ERR_CERT_NAME };
    struct ident other = ident_new(&(struct ident_spec){ .name = "other root", .ca = true }, NULL);

    for (size_t i = 0; i < COUNT(specs); i++)
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            const struct ident *issuer = want[i] == -ERR_CERT_SELF ? NULL : want[i] == -ERR_CERT_ISSUER ? &other : &ca;
            struct ident id = ident_new(&specs[i], issuer);
            uint64_t unverified = tls_stats()->n_unverified;
            uint8_t pin[32];
            struct rig r;

            rig_open(&r, NULL, &id, version, NULL);
            assert_int_equal(shaken(&r), want[i]);
            turns(&r, 2);
            assert_true(r.peer.up == !want[i] || version == TLS1_3_VERSION);
            assert_int_equal(tls_stats()->n_unverified, unverified);
            rig_close(&r);

            rig_open(&r, &(struct tls_config){ .name = "test.example", .skip_verify = true }, &id, version, NULL);
            assert_int_equal(shaken(&r), 0);
            assert_int_equal(tls_stats()->n_unverified, unverified + 1); /* honoured, and counted */
            rig_close(&r);

            ident_pin(&id, pin);
            rig_open(&r, &(struct tls_config){ .name = "test.example", .pin = pin }, &id, version, NULL);
            assert_int_equal(shaken(&r), 0);
            rig_close(&r);

            pin[31] ^= 1;
            rig_open(&r, &(struct tls_config){ .name = "test.example", .pin = pin, .skip_verify = true }, &id, version, NULL);
            assert_int_equal(shaken(&r), -ERR_CERT_PIN); /* a pin is more than skip-cert-verify */
            rig_close(&r);
            ident_free(&id);
        }
    ident_free(&other);
}

static void test_a_pinned_issuer_vouches_for_chain_and_name(void **state)
{
    static const struct {
        const char *name;
        bool send_inter, pin_root;
        int want;
    } cases[] = {
        { "test.example", true, false, 0 },
        { "another.example", true, false, -ERR_CERT_NAME },
        { "test.example", false, false, -ERR_CERT_PIN }, /* it must be in the chain that the server sends */
        { "test.example", true, true, -ERR_CERT_PIN },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t pin[32];
        struct rig r;

        ident_pin(cases[i].pin_root ? &ca : &inter, pin);
        rig_open(&r, &(struct tls_config){ .name = cases[i].name, .pin = pin }, &deep, 0, NULL);
        if (cases[i].send_inter)
            SSL_add1_chain_cert(r.peer.ssl, inter.cert);
        assert_int_equal(shaken(&r), cases[i].want);
        rig_close(&r);
    }
}

static void test_a_chain_needs_its_links(void **state)
{
    struct rig r;

    rig_open(&r, NULL, &deep, 0, NULL);
    assert_int_equal(shaken(&r), -ERR_CERT_ISSUER);
    disconnect(&r);
    connect_again(&r, NULL);
    SSL_add1_chain_cert(r.peer.ssl, inter.cert);
    assert_int_equal(shaken(&r), 0);
    rig_close(&r);
}

static void test_the_system_does_not_trust_our_root(void **state)
{
    char why[TR_WHY];
    struct tls_roots *none;
    struct rig r;

    assert_int_equal(tls_roots_new(NULL, 0, &none, why), 0);
    rig_open(&r, &(struct tls_config){ .name = "test.example", .roots = none }, &good, 0, NULL);
    tls_roots_free(none); /* the client keeps what it needs */
    assert_int_equal(shaken(&r), -ERR_CERT_ISSUER);
    rig_close(&r);
}

/* ---- names ---- */

static char asked[64];

static int on_name(SSL *ssl, int *alert, void *arg)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    snprintf(asked, sizeof(asked), "%s", name ? name : "none");
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return arg ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_OK;
}

static void test_an_address_is_verified_but_not_asked_for(void **state)
{
    static const struct {
        const char *name, *asked;
        int want;
    } cases[] = {
        { "192.0.2.1", "none", 0 },
        { "192.0.2.2", "none", -ERR_CERT_NAME },
        { "test.example", "test.example", 0 },
        { "a.wild.example", "a.wild.example", 0 },
        { "b.a.wild.example", "b.a.wild.example", -ERR_CERT_NAME },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;

        rig_open(&r, &(struct tls_config){ .name = cases[i].name }, &good, 0, NULL);
        SSL_CTX_set_tlsext_servername_callback(r.ctx, on_name);
        assert_int_equal(shaken(&r), cases[i].want);
        assert_string_equal(asked, cases[i].asked);
        rig_close(&r);
    }
}

static void test_a_server_that_does_not_know_the_name(void **state)
{
    struct rig r;

    rig_open(&r, NULL, &good, 0, NULL);
    SSL_CTX_set_tlsext_servername_callback(r.ctx, on_name);
    SSL_CTX_set_tlsext_servername_arg(r.ctx, "refuse");
    assert_int_equal(shaken(&r), -ERR_TLS_NAME);
    rig_close(&r);
}

/* ---- ALPN ---- */

static unsigned n_offered;

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned n, void *arg)
{
    const char *take = arg;

    n_offered = n;
    for (unsigned i = 0; i < n; i += 1u + in[i])
        if (in[i] == strlen(take) && !memcmp(in + i + 1, take, in[i])) {
            *out = in + i + 1;
            *len = in[i];
            return SSL_TLSEXT_ERR_OK;
        }
    return !strcmp(take, "refuse") ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

static void test_alpn(void **state)
{
    static const char *const both[] = { "h2", "http/1.1" };
    static const struct {
        unsigned n;
        bool must;
        const char *server;
        unsigned offered;
        int want;
        const char *chosen;
    } cases[] = {
        { 0, false, "h2", 0, 0, "" },  { 2, false, "http/1.1", 12, 0, "http/1.1" },  { 2, false, "other", 12, 0, "" },
        { 1, true, "h2", 3, 0, "h2" }, { 1, true, "other", 3, -ERR_TLS_ALPN, NULL }, { 1, false, "refuse", 3, -ERR_TLS_ALPN, NULL },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tls_info info;
        struct rig r;

        n_offered = 0;
        rig_open(&r, &(struct tls_config){ .name = "test.example", .alpn = both, .n_alpn = cases[i].n, .must_alpn = cases[i].must }, &good,
                 0, NULL);
        SSL_CTX_set_alpn_select_cb(r.ctx, on_alpn, (void *)cases[i].server);
        assert_int_equal(shaken(&r), cases[i].want);
        assert_int_equal(n_offered, cases[i].offered);
        if (!cases[i].want) {
            tls_info(r.s, &info);
            assert_string_equal(info.alpn, cases[i].chosen);
            assert_string_equal(info.version, "TLSv1.3");
            assert_string_equal(info.cipher, "TLS_AES_128_GCM_SHA256");
        }
        rig_close(&r);
    }
}

/* ---- sessions ---- */

static void test_the_next_connection_resumes(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_info info;
        struct rig r;

        rig_open(&r, NULL, &good, version, NULL);
        for (int i = 0; i < 4; i++) {
            if (i)
                connect_again(&r, NULL);
            assert_int_equal(shaken(&r), 0);
            tls_info(r.s, &info);
            assert_int_equal(info.resumed, i > 0);
            assert_true(info.verified);
            r.peer.send = 1; /* the ticket comes behind the handshake: read */
            talk_in(&r.us);
            turns(&r, 5);
            assert_int_equal(r.us.in.at, 1);
            disconnect(&r);
        }
        connect_again(&r, NULL);
        SSL_CTX_set_options(r.ctx, SSL_OP_NO_TICKET);
        rig_close(&r);
    }
}

/* ---- client certificates ---- */

static int allow_all(int ok, X509_STORE_CTX *x)
{
    return 1;
}

static void test_a_client_certificate_is_shown(void **state)
{
    struct ident me = ident_new(&(struct ident_spec){ .name = "me" }, &ca);
    char *cert = ident_cert_pem(&me), *key = ident_key_pem(&me), path[] = "/tmp/shunt-test-XXXXXX", both[8192];
    int fd = mkstemp(path);

    snprintf(both, sizeof(both), "%s%s", key, cert);
    assert_int_equal(write(fd, both, strlen(both)), strlen(both));
    close(fd);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
        for (int how = 0; how < 3; how++) {
            const struct tls_config cfg[] = {
                { .name = "test.example", .cert = cert, .key = key },
                { .name = "test.example", .cert = path },
                { .name = "test.example" },
            };
            struct rig r;
            uint8_t b[8];

            rig_open(&r, &cfg[how], &good, version, NULL);
            SSL_set_verify(r.peer.ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, allow_all);
            if (how == 2 && version == TLS1_2_VERSION) {
                assert_int_equal(shaken(&r), -ERR_TLS_VERSION); /* all that "handshake failure" tells */
            } else if (how == 2) {
                assert_int_equal(shaken(&r), 0); /* 1.3 tells later */
                turns(&r, 3);
                assert_int_equal(stream_read(r.s, &(struct iovec){ b, 8 }, 1), -ERR_TLS_CLIENT);
            } else {
                X509 *seen;

                assert_int_equal(shaken(&r), 0);
                turns(&r, 3);
                seen = SSL_get1_peer_certificate(r.peer.ssl);
                assert_int_equal(X509_cmp(seen, me.cert), 0);
                X509_free(seen);
            }
            rig_close(&r);
        }
    unlink(path);
    free(cert);
    free(key);
    ident_free(&me);
}

static void test_bad_settings_are_refused_with_words(void **state)
{
    struct ident me = ident_new(&(struct ident_spec){ .name = "me" }, &ca);
    char *cert = ident_cert_pem(&me), *key = ident_key_pem(&good);
    static const char *const bad_alpn[] = { "" };
    const struct {
        struct tls_config cfg;
        const char *word;
    } cases[] = {
        { { 0 }, "no name" },
        { { .name = "x", .alpn = bad_alpn, .n_alpn = 1 }, "alpn" },
        { { .name = "x", .cert = "/nowhere/at/all" }, "No such file" },
        { { .name = "x", .cert = "/dev/zero" }, "File too large" },
        { { .name = "x", .cert = "/dev/null" }, "File too large" }, /* not a plain file */
        { { .name = "x", .cert = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n" }, "no PEM certificate" },
        { { .name = "x", .cert = cert }, "no PEM key" },
        { { .name = "x", .cert = cert, .key = key }, "does not belong" },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tls_client *c = NULL;
        char why[TR_WHY] = "";

        assert_int_equal(tls_client_new(&cases[i].cfg, &c, why), -EINVAL);
        assert_null(c);
        if (!strstr(why, cases[i].word))
            fail_msg("case %zu: %s", i, why);
    }
    free(cert);
    free(key);
    ident_free(&me);
}

/* ---- peers that misbehave ---- */

static void test_peers_that_do_not_speak_tls(void **state)
{
    static const struct {
        const char *says;
        size_t n;
        bool hangs_up;
        int want;
    } cases[] = {
        { "HTTP/1.1 400 Bad Request\r\n\r\n", 28, false, -ERR_TLS_PLAIN },
        { "SSH-2.0-OpenSSH_9.2\r\n", 21, false, -ERR_TLS_PLAIN },
        { "", 0, true, -ERR_EARLY },
        { "\x16\x03\x03\x00\x40", 5, true, -ERR_TLS },
        { "\x16\x03\x03\xff\xff", 5, false, -ERR_TLS_PLAIN },
        { "\x15\x03\x03\x00\x02\x02\x28", 7, false, -ERR_TLS_VERSION }, /* alert: handshake failure */
        { "\x15\x03\x03\x00\x02\x02\x70", 7, false, -ERR_TLS_NAME },
        { "\x15\x03\x03\x00\x02\x02\x46", 7, false, -ERR_TLS_VERSION },
        { "\x17\x03\x03\x00\x02\x02\x46", 7, false, -ERR_TLS },
        { "\x16\x03\x03\x00\x04\x02\x00\x00\x00", 9, false, -ERR_TLS },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;

        rig_open(&r, NULL, &good, 0, NULL);
        if (cases[i].n)
            stream_write(&r.pair->a.s, &(struct iovec){ (void *)cases[i].says, cases[i].n }, 1);
        if (cases[i].hangs_up)
            stream_shutdown(&r.pair->a.s);
        for (int k = 0; k < 10; k++)
            loop_turn(r.l, 0);
        if (r.us.err != cases[i].want)
            fail_msg("case %zu: %s", i, err_str(r.us.err));
        rig_close(&r);
    }
}

/* Passes the server's bytes on one by one: flips a bit, or cuts, at one place. True when something was done. */
struct meddler {
    struct mempair *pair; /* pair.b: our layer; pair.a: the meddler's near end */
    size_t at, n;
    bool cut, did;
};

static void meddle(struct meddler *m, struct tlspeer *p)
{
    uint8_t b[4096];
    ssize_t n;
    long have;
    char *data;

    while ((n = stream_read(&m->pair->a.s, &(struct iovec){ b, sizeof(b) }, 1)) > 0)
        BIO_write(p->in, b, (int)n);
    if (!p->up && SSL_do_handshake(p->ssl) == 1)
        p->up = true;
    if (p->up)
        tlspeer_talk(p);
    ERR_clear_error();
    while ((have = BIO_get_mem_data(p->out, &data)) > 0 && !(m->did && m->cut)) {
        uint8_t c;

        BIO_read(p->out, &c, 1);
        if (m->n++ == m->at) {
            m->did = true;
            if (m->cut) {
                stream_shutdown(&m->pair->a.s);
                return;
            }
            c ^= (uint8_t)(1u << (m->at % 8));
        }
        stream_write(&m->pair->a.s, &(struct iovec){ &c, 1 }, 1);
    }
}

/* What the client got out of a connection with byte `at` of the server flipped, or everything from there cut off. */
static bool meddled(size_t at, bool cut, int version, int *err, size_t *got, bool *eof)
{
    struct meddler m = { .at = at, .cut = cut };
    struct rig r;

    rig_open(&r, NULL, &good, version, NULL);
    m.pair = r.pair;
    r.peer.send = 40;
    r.peer.piece = 20;
    r.peer.finish = true;
    talk_start(&r.us);
    for (int i = 0; i < 30 && !r.us.err && !r.us.eof; i++) {
        meddle(&m, &r.peer);
        loop_turn(r.l, 0);
        loop_turn(r.l, 0);
        if (r.us.opened)
            talk_in(&r.us);
    }
    *err = r.us.err;
    *got = r.us.in.at;
    *eof = r.us.eof;
    rig_close(&r);
    return m.did;
}

static void test_flipped_bits_are_never_delivered(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        unsigned accepted = 0;
        size_t at = 0, got;
        bool eof;
        int err;

        for (; meddled(at, false, version, &err, &got, &eof); at++) { /* talk_in has compared what came with what was sent */
            assert_true(got <= 40);
            accepted += !err && got == 40 && eof;
        }
        assert_true(at > 600);
        assert_true(accepted <= 4); /* bits of a record's version that nobody may look at */
    }
}

static void test_cut_anywhere(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        size_t at = 0, got;
        bool eof;
        int err;

        for (; meddled(at, true, version, &err, &got, &eof); at++) {
            assert_true(eof != (err != 0));
            assert_true(!eof || got % 20 == 0); /* between records only */
        }
        assert_true(at > 600);
    }
}

/* ---- the end ---- */

static void test_half_close_is_close_notify_without_fin(void **state)
{
    struct rig r;

    rig_open(&r, NULL, &good, TLS1_3_VERSION, NULL);
    assert_int_equal(shaken(&r), 0);
    assert_int_equal(stream_shutdown(r.s), 0);
    turns(&r, 2);
    assert_true(r.peer.eof);
    assert_false(r.pair->a.eof);
    r.peer.send = 1000;
    talk_in(&r.us);
    turns(&r, 5);
    assert_int_equal(r.us.in.at, 1000);
    assert_int_equal(stream_write(r.s, &(struct iovec){ "x", 1 }, 1), -EPIPE);
    rig_close(&r);
}

static void test_close_says_goodbye(void **state)
{
    struct rig r;

    rig_open(&r, NULL, &good, 0, NULL);
    assert_int_equal(shaken(&r), 0);
    stream_close(r.s, 0);
    r.s = NULL;
    turns(&r, 2);
    assert_true(r.peer.eof);
    assert_true(r.pair->a.eof);
    assert_int_equal(r.pair->b.close_err, 0);
    rig_close(&r);
}

static void test_a_server_may_change_keys_in_mid_stream(void **state)
{
    struct rig r;

    rig_open(&r, NULL, &good, TLS1_3_VERSION, NULL);
    assert_int_equal(shaken(&r), 0);
    talk_in(&r.us);
    for (int i = 1; i <= 5; i++) {
        r.peer.send = (size_t)i * 5000;
        turns(&r, 3);
        assert_int_equal(SSL_key_update(r.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        r.us.send = (size_t)i * 3000;
        talk_out(&r.us);
        turns(&r, 3);
    }
    assert_int_equal(r.us.in.at, 25000);
    assert_int_equal(r.peer.rx.at, 15000);
    rig_close(&r);
}

/* A client may go while its streams live. */
static void test_streams_outlive_their_client(void **state)
{
    struct rig r;

    rig_open(&r, NULL, &good, 0, NULL);
    tls_client_free(r.client);
    r.client = NULL;
    assert_int_equal(shaken(&r), 0);
    r.peer.send = 10;
    talk_in(&r.us);
    turns(&r, 4);
    assert_int_equal(r.us.in.at, 10);
    rig_close(&r);
}

/* TLS inside TLS: a layer on any stream. */
static void test_tls_in_tls(void **state)
{
    struct stream *inner;
    struct tlspeer far;
    struct mempair *mid;
    struct talker us;
    struct rig r;

    rig_open(&r, NULL, &good, 0, NULL);
    assert_int_equal(shaken(&r), 0);
    assert_int_equal(tls_start(r.client, r.l, r.s, &inner), 0);
    mid = mempair_new(r.l, NULL); /* the outer server's plaintext goes to the inner one through it */
    tlspeer_init(&far, r.ctx, &mid->a.s);
    far.tx.seed = 2;
    far.rx.seed = 1;
    talk_init(&us, inner, 1, 2, 50000);
    far.send = 50000;
    for (int i = 0; i < 3000 && (us.in.at < 50000 || far.rx.at < 50000) && !us.err; i++) {
        static uint8_t b[16384];
        ssize_t w;
        int n;

        loop_turn(r.l, 0);
        tlspeer_pull(&r.peer);
        while ((n = SSL_read(r.peer.ssl, b, sizeof(b))) > 0)
            assert_int_equal(stream_write(&mid->b.s, &(struct iovec){ b, (size_t)n }, 1), n);
        tlspeer_turn(&far);
        while ((w = stream_read(&mid->b.s, &(struct iovec){ b, sizeof(b) }, 1)) > 0)
            assert_int_equal(SSL_write(r.peer.ssl, b, (int)w), w);
        tlspeer_push(&r.peer);
        if (us.opened && !us.n_ready)
            talk_start(&us);
        if (us.opened)
            talk_in(&us);
    }
    assert_int_equal(us.err, 0);
    assert_int_equal(us.in.at, 50000);
    assert_int_equal(far.rx.at, 50000);
    stream_close(inner, 0);
    r.s = NULL;
    loop_turn(r.l, 0);
    tlspeer_fini(&far);
    loop_turn(r.l, 0);
    mempair_free(mid);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_both_ways_through_every_temper),
        cmocka_unit_test(test_an_idle_stream_holds_no_buffer),
        cmocka_unit_test(test_small_pieces_make_full_records),
        cmocka_unit_test(test_certificates_are_told_apart),
        cmocka_unit_test(test_a_pinned_issuer_vouches_for_chain_and_name),
        cmocka_unit_test(test_a_chain_needs_its_links),
        cmocka_unit_test(test_the_system_does_not_trust_our_root),
        cmocka_unit_test(test_an_address_is_verified_but_not_asked_for),
        cmocka_unit_test(test_a_server_that_does_not_know_the_name),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_the_next_connection_resumes),
        cmocka_unit_test(test_a_client_certificate_is_shown),
        cmocka_unit_test(test_bad_settings_are_refused_with_words),
        cmocka_unit_test(test_peers_that_do_not_speak_tls),
        cmocka_unit_test(test_flipped_bits_are_never_delivered),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_half_close_is_close_notify_without_fin),
        cmocka_unit_test(test_close_says_goodbye),
        cmocka_unit_test(test_a_server_may_change_keys_in_mid_stream),
        cmocka_unit_test(test_streams_outlive_their_client),
        cmocka_unit_test(test_tls_in_tls),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
