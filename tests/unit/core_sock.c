/*
 * core_sock.c - sockets as streams and datagram sessions
 *
 * What the loop watches is read from the kernel (/proc/self/fdinfo of the epoll descriptor), so that lost or useless interest shows without
 * waiting for anything. recvmmsg() can be told to fail.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/pool.h"
#include "core/sock.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int recvmmsg_error;

int recvmmsg(int fd, struct mmsghdr *m, unsigned int n, int flags, struct timespec *t)
{
    if (recvmmsg_error) {
        errno = recvmmsg_error;
        return -1;
    }
    return (int)syscall(SYS_recvmmsg, fd, m, n, flags, t);
}

/* ---- a stream and its far end ---- */

struct side {
    struct loop *l;
    struct stream *s;
    int fd, far;
    unsigned readable, writable, failed;
    void (*then)(struct side *d);
};

static void on_ready(struct stream *s, unsigned what)
{
    struct side *d = s->owner;

    d->readable += !!(what & STREAM_READABLE);
    d->writable += !!(what & STREAM_WRITABLE);
    d->failed += !!(what & STREAM_FAILED);
    if (d->then)
        d->then(d);
}

static void tcp_pair(int fd[2])
{
    struct endpoint at = { 0 };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int srv = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(srv, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(srv, 1), 0);
    assert_int_equal(getsockname(srv, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&a, &at), 0);
    fd[0] = sock_connect(&at, NULL);
    assert_true(fd[0] >= 0);
    fd[1] = accept(srv, NULL, NULL);
    assert_true(fd[1] >= 0);
    assert_int_equal(poll(&(struct pollfd){ fd[0], POLLOUT, 0 }, 1, 5000), 1);
    assert_int_equal(sock_error(fd[0]), 0);
    close(srv);
}

static void side_open(struct side *d, bool tcp)
{
    int fd[2];

    if (tcp)
        tcp_pair(fd);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    *d = (struct side){ .l = loop_new(), .fd = fd[0], .far = fd[1] };
    d->s = sock_stream(d->l, fd[0]);
    assert_non_null(d->s);
    assert_string_equal(d->s->ops->name, "tcp");
    assert_null(d->s->ops->peek);
    d->s->owner = d;
    d->s->on_ready = on_ready;
}

static void side_close(struct side *d)
{
    if (d->s)
        stream_close(d->s, 0);
    if (d->far >= 0)
        close(d->far);
    loop_free(d->l);
    sock_trim();
}

static ssize_t get(struct side *d, char *buf, size_t n)
{
    return stream_read(d->s, &(struct iovec){ buf, n }, 1);
}

static ssize_t put(struct side *d, const char *text)
{
    return stream_write(d->s, &(struct iovec){ (char *)text, strlen(text) }, 1);
}

static void turns(struct side *d, int n)
{
    while (n--)
        loop_turn(d->l, 0);
}

/* What the kernel watches a descriptor for, as IO_*; libuv tells it at the next poll. */
static unsigned watched(struct side *d)
{
    char path[64], line[256];
    unsigned events = 0;
    FILE *f;

    loop_turn(d->l, 0);
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uv_backend_fd(loop_uv(d->l)));
    f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        unsigned ev;
        int fd;

        if (sscanf(line, "tfd: %d events: %x", &fd, &ev) == 2 && fd == d->fd)
            events = ev;
    }
    fclose(f);
    return (events & EPOLLIN ? IO_READ : 0) | (events & EPOLLOUT ? IO_WRITE : 0);
}

static void readable_is_told_once_per_question(void **state)
{
    struct side d;
    char buf[100];

    side_open(&d, false);
    assert_int_equal(watched(&d), 0); /* nobody asked yet */
    assert_int_equal(write(d.far, "early", 5), 5);
    turns(&d, 2);
    assert_int_equal(d.readable, 0);
    assert_int_equal(get(&d, buf, sizeof(buf)), 5);
    assert_int_equal(get(&d, buf, sizeof(buf)), 0);
    assert_int_equal(watched(&d), IO_READ);
    assert_int_equal(write(d.far, "late", 4), 4);
    turns(&d, 1);
    assert_int_equal(d.readable, 1);
    turns(&d, 5);
    assert_int_equal(d.readable, 1);
    assert_int_equal(watched(&d), 0); /* nobody waits: no spinning */
    assert_int_equal(get(&d, buf, 2), 2);
    assert_int_equal(get(&d, buf, sizeof(buf)), 2);
    assert_int_equal(get(&d, buf, sizeof(buf)), 0);
    assert_int_equal(watched(&d), IO_READ);
    shutdown(d.far, SHUT_WR);
    turns(&d, 1);
    assert_int_equal(d.readable, 2);
    assert_int_equal(get(&d, buf, sizeof(buf)), -STREAM_EOF);
    assert_int_equal(get(&d, buf, sizeof(buf)), -STREAM_EOF);
    side_close(&d);
}

/* Read READ stays wanted over many messages: no system call but the read itself. */
static void read_it_all(struct side *d)
{
    char buf[100];

    assert_true(get(d, buf, sizeof(buf)) > 0);
    assert_int_equal(get(d, buf, sizeof(buf)), 0);
}

static void interest_stays_while_somebody_reads(void **state)
{
    struct side d;
    char buf[1];

    side_open(&d, true);
    assert_int_equal(get(&d, buf, 1), 0);
    d.then = read_it_all;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(write(d.far, "message", 7), 7);
        loop_turn(d.l, 1000);
        assert_int_equal(watched(&d), IO_READ);
    }
    assert_int_equal(d.readable, 10);
    side_close(&d);
}

static void eof_behind_a_short_read_is_seen(void **state)
{
    struct side d;
    char buf[100];

    side_open(&d, false);
    assert_int_equal(write(d.far, "last words", 10), 10);
    shutdown(d.far, SHUT_WR);
    assert_int_equal(get(&d, buf, sizeof(buf)), 10);
    assert_int_equal(get(&d, buf, sizeof(buf)), 0); /* did not ask the kernel */
    turns(&d, 1);
    assert_int_equal(d.readable, 1);
    assert_int_equal(get(&d, buf, sizeof(buf)), -STREAM_EOF);
    side_close(&d);
}

static void an_event_without_owner_is_not_lost(void **state)
{
    struct side d;
    char buf[10];

    side_open(&d, false);
    assert_int_equal(get(&d, buf, sizeof(buf)), 0);
    d.s->on_ready = NULL;
    assert_int_equal(write(d.far, "x", 1), 1);
    turns(&d, 3);
    d.s->on_ready = on_ready; /* the next owner tries once by itself */
    assert_int_equal(get(&d, buf, sizeof(buf)), 1);
    assert_int_equal(get(&d, buf, sizeof(buf)), 0);
    assert_int_equal(write(d.far, "x", 1), 1);
    turns(&d, 1);
    assert_int_equal(d.readable, 1);
    side_close(&d);
}

static size_t fill(struct side *d)
{
    static char buf[1 << 16];
    size_t total = 0;
    ssize_t n;

    while ((n = stream_write(d->s, &(struct iovec){ buf, sizeof(buf) }, 1)) > 0)
        total += (size_t)n;
    assert_int_equal(n, 0);
    return total;
}

static size_t drain(int fd)
{
    static char buf[1 << 16];
    size_t total = 0;
    ssize_t n;

    while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
        total += (size_t)n;
    return total;
}

static void fill_again(struct side *d)
{
    fill(d);
}

static void writable_is_told_when_there_is_room_again(void **state)
{
    struct side d;

    side_open(&d, false);
    assert_int_equal(put(&d, "fits"), 4);
    assert_int_equal(stream_write(d.s, NULL, 0), 0);
    assert_int_equal(watched(&d), 0); /* nothing fell short */
    fill(&d);
    assert_int_equal(watched(&d), IO_WRITE);
    turns(&d, 3);
    assert_int_equal(d.writable, 0);
    drain(d.far);
    turns(&d, 3);
    assert_int_equal(d.writable, 1);
    assert_int_equal(watched(&d), 0);

    fill(&d);
    d.then = fill_again;
    for (int i = 0; i < 5; i++) {
        drain(d.far);
        turns(&d, 1);
        assert_int_equal(watched(&d), IO_WRITE); /* still short: still wanted */
    }
    assert_int_equal(d.writable, 6);
    side_close(&d);
}

static void close_me(struct side *d)
{
    stream_close(d->s, 0);
    d->s = NULL;
}

static void closed_in_its_own_callback(void **state)
{
    struct side d;
    char buf[1];

    for (int both = 0; both < 2; both++) {
        side_open(&d, false);
        assert_int_equal(get(&d, buf, 1), 0);
        d.then = close_me;
        if (both) {
            fill(&d);
            drain(d.far);
        }
        assert_int_equal(write(d.far, "x", 1), 1);
        turns(&d, 3);
        assert_null(d.s);
        assert_int_equal(d.readable, 1);
        side_close(&d);
    }
}

static void closed_in_order_delivers_all(void **state)
{
    struct side d;
    char buf[10];

    side_open(&d, true);
    assert_int_equal(put(&d, "all"), 3);
    assert_int_equal(stream_shutdown(d.s), 0);
    close_me(&d);
    assert_int_equal(recv(d.far, buf, sizeof(buf), 0), 3);
    assert_int_equal(recv(d.far, buf, sizeof(buf), 0), 0);
    side_close(&d);
}

static void closed_with_an_error_resets(void **state)
{
    struct side d;
    char buf[10];

    side_open(&d, true);
    stream_close(d.s, -ETIMEDOUT);
    d.s = NULL;
    assert_int_equal(recv(d.far, buf, sizeof(buf), 0), -1);
    assert_int_equal(errno, ECONNRESET);
    side_close(&d);
}

static void reset_by_far(struct side *d)
{
    struct linger hard = { 1, 0 };

    setsockopt(d->far, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(d->far);
    d->far = -1;
}

/* The kernel says ECONNRESET once and end of file from then on; a layer that asks again must not take that for an orderly end. */
static void a_reset_stays_a_reset(void **state)
{
    struct side d;
    char buf[10];

    side_open(&d, true);
    assert_int_equal(get(&d, buf, sizeof(buf)), 0);
    reset_by_far(&d);
    loop_turn(d.l, 1000);
    assert_int_equal(d.readable, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(get(&d, buf, sizeof(buf)), -ECONNRESET);
    assert_int_equal(put(&d, "x"), -ECONNRESET);
    assert_int_equal(stream_shutdown(d.s), -ECONNRESET);
    side_close(&d);

    side_open(&d, true); /* first met by a write */
    reset_by_far(&d);
    assert_int_equal(poll(&(struct pollfd){ d.fd, POLLIN, 0 }, 1, 5000), 1);
    assert_int_equal(put(&d, "x"), -ECONNRESET);
    assert_int_equal(get(&d, buf, sizeof(buf)), -ECONNRESET);
    side_close(&d);
}

static void a_reset_nobody_waits_for_does_not_spin(void **state)
{
    struct side d;
    char buf[10];

    side_open(&d, true);
    assert_int_equal(write(d.far, "abc", 3), 3);
    assert_int_equal(poll(&(struct pollfd){ d.fd, POLLIN, 0 }, 1, 5000), 1);
    assert_int_equal(get(&d, buf, sizeof(buf)), 3); /* READ is wanted, nobody was told "none now" */
    reset_by_far(&d);
    assert_int_equal(poll(&(struct pollfd){ d.fd, POLLIN, 0 }, 1, 5000), 1);
    turns(&d, 2);
    assert_int_equal(watched(&d), 0);
    assert_int_equal(get(&d, buf, sizeof(buf)), -ECONNRESET);
    side_close(&d);
}

static void a_refused_connect_says_so(void **state)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    struct endpoint to;

    assert_int_equal(bind(taken, (struct sockaddr *)&a, len), 0); /* bound, not listening */
    assert_int_equal(getsockname(taken, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&a, &to), 0);
    fd = sock_connect(&to, NULL);
    if (fd >= 0) {
        assert_int_equal(poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, 5000), 1);
        assert_int_equal(sock_error(fd), -ECONNREFUSED);
        close(fd);
    } else {
        assert_int_equal(fd, -ECONNREFUSED);
    }
    close(taken);
}

static int option(int fd, int level, int name)
{
    int v = -1;
    socklen_t len = sizeof(v);

    assert_int_equal(getsockopt(fd, level, name, &v, &len), 0);
    return v;
}

static void sockets_as_the_caller_wants_them(void **state)
{
    static const struct sock_opts alive = { .keep_idle_s = 41, .keep_interval_s = 86400 }, multi = { .multipath = true };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int srv = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    struct endpoint to;

    assert_int_equal(bind(srv, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(srv, 4), 0);
    assert_int_equal(getsockname(srv, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&a, &to), 0);
    assert_true((fd = sock_connect(&to, NULL)) >= 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    close(fd);
    assert_true((fd = sock_connect(&to, &alive)) >= 0);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 41);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 32767);
    close(fd);
    assert_true((fd = sock_connect(&to, &multi)) >= 0); /* also where the kernel has none */
    close(fd);
    close(srv);
}

/* "Connected" at once, and what is written rides in the SYN or behind it: it arrives either way. */
static void fast_open_delivers(void **state)
{
    static const struct sock_opts fast = { .fast_open = true };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int srv = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), backlog = 4, in;
    struct endpoint to;
    char buf[8];

    assert_int_equal(bind(srv, (struct sockaddr *)&a, len), 0);
    setsockopt(srv, IPPROTO_TCP, TCP_FASTOPEN, &backlog, sizeof(backlog));
    assert_int_equal(listen(srv, 4), 0);
    assert_int_equal(getsockname(srv, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&a, &to), 0);
    for (int i = 0; i < 2; i++) { /* the second has a cookie */
        int fd = sock_connect(&to, &fast);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, "hello", 5), 5);
        assert_true((in = accept(srv, NULL, NULL)) >= 0);
        assert_int_equal(read(in, buf, sizeof(buf)), 5);
        assert_memory_equal(buf, "hello", 5);
        close(in);
        close(fd);
    }
    close(srv);
}

static void an_interface_that_is_not_there(void **state)
{
    static const struct sock_opts gone = { .way.interface = "no-such-if0" };
    struct loop *l = loop_new();
    struct endpoint to = { .port = 9 };
    struct dest d = { .at.port = 9 };
    struct pktsess *p;

    addr_parse("192.0.2.1", &to.ip);
    d.at.ip = to.ip;
    assert_int_equal(sock_connect(&to, &gone), -ENODEV);
    assert_int_equal(sock_udp_connected(l, &to, &gone.way, &p), -ENODEV);
    assert_int_equal(sock_probe(&to.ip, &gone.way), -ENODEV);
    assert_non_null(p = sock_udp(l, &gone.way));
    assert_int_equal(pkt_send(p, &d, "x", 1), -ENODEV); /* before a socket would do it by another way */
    pkt_close(p);
    addr_parse("127.0.0.1", &to.ip); /* this machine is reached by none */
    assert_int_equal(sock_udp_connected(l, &to, &gone.way, &p), 0);
    assert_int_equal(sock_probe(&to.ip, &gone.way), 0);
    pkt_close(p);
    addr_parse("255.255.255.255", &to.ip);
    assert_int_equal(sock_probe(&to.ip, &(struct sock_way){ 0 }), -EACCES); /* connect's own word */
    loop_free(l);
}

static struct {
    unsigned n;
    int fd, answer;
    uint32_t mark;
} marked;

static int mark_it(void *arg, int fd, uint32_t mark)
{
    assert_ptr_equal(arg, &marked);
    marked.n++;
    marked.fd = fd;
    marked.mark = mark;
    return marked.answer;
}

/* Never without it: rules of the system would lead the connection elsewhere. */
static void what_is_to_have_a_mark_has_it_or_fails(void **state)
{
    static const struct sock_opts nine = { .way.mark = 9 };
    struct loop *l = loop_new();
    struct endpoint to = { .port = 9 };
    struct dest d = { .at.port = 9 };
    struct pktsess *p;
    int fd;

    addr_parse("127.0.0.1", &to.ip);
    d.at.ip = to.ip;
    assert_int_equal(sock_connect(&to, &nine), -EPERM); /* nobody can */
    sock_marker(mark_it, &marked);
    marked.answer = -EACCES;
    assert_int_equal(sock_connect(&to, &nine), -EACCES);
    assert_int_equal(sock_udp_connected(l, &to, &nine.way, &p), -EACCES);
    marked.answer = 0;
    fd = sock_connect(&to, &nine);
    assert_true(fd >= 0 && fd == marked.fd && marked.mark == 9 && marked.n == 3);
    close(fd);
    assert_non_null(p = sock_udp(l, &nine.way));
    assert_int_equal(marked.n, 3);
    assert_int_equal(pkt_send(p, &d, "x", 1), 0);
    assert_int_equal(marked.n, 4);
    pkt_close(p);
    fd = sock_connect(&to, NULL);
    assert_int_equal(marked.n, 4); /* who needs none, asks for none */
    close(fd);
    sock_marker(NULL, NULL);
    loop_free(l);
}

static void what_is_no_socket(void **state)
{
    struct loop *l = loop_new();

    assert_null(sock_stream(l, -1));
    loop_free(l);
    sock_trim();
}

/* ---- datagrams ---- */

struct session {
    struct pktsess *p;
    unsigned n, dead;
    int err;
    size_t len;
    uint8_t last[65536];
    struct endpoint from;
    bool close_at_once, in_order;
    uint32_t expect;
};

static void on_packet(struct pktsess *p, const struct dest *from, const void *buf, size_t len)
{
    struct session *s = p->owner;
    uint32_t k;

    s->n++;
    s->len = len;
    s->from = from->at;
    memcpy(s->last, buf, len);
    if (s->in_order && len >= 4) {
        memcpy(&k, buf, 4);
        assert_int_equal(k, s->expect++);
    }
    if (s->close_at_once) {
        pkt_close(p);
        s->p = NULL;
    }
}

static void on_dead(struct pktsess *p, int err)
{
    struct session *s = p->owner;

    s->dead++;
    s->err = err;
}

static void adopt(struct session *s, struct pktsess *p)
{
    assert_non_null(p);
    s->p = p;
    p->owner = s;
    p->on_packet = on_packet;
    p->on_dead = on_dead;
}

static int peer_open(const char *addr, struct dest *at)
{
    struct endpoint e = { 0 };
    struct sockaddr_storage ss;
    socklen_t len;
    int fd;

    assert_int_equal(addr_parse(addr, &e.ip), 0);
    len = endpoint_to_sockaddr(&e, &ss);
    fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) < 0) {
        close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    *at = (struct dest){ 0 };
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&ss, &at->at), 0);
    return fd;
}

static struct session S;

static void there_and_back(const char *addr)
{
    struct loop *l = loop_new();
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    struct dest to;
    char buf[10];
    int fd = peer_open(addr, &to);

    memset(&S, 0, sizeof(S));
    if (fd >= 0) { /* a machine without IPv6 */
        adopt(&S, sock_udp(l, NULL));
        assert_int_equal(pkt_send(S.p, &to, "ping", 4), 0);
        assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 4);
        assert_int_equal(sendto(fd, "pong!", 5, 0, (struct sockaddr *)&from, len), 5);
        loop_turn(l, 1000);
        assert_int_equal(S.n, 1);
        assert_int_equal(S.len, 5);
        assert_memory_equal(S.last, "pong!", 5);
        assert_true(endpoint_eq(&S.from, &to.at));
        assert_int_equal(sendto(fd, "", 0, 0, (struct sockaddr *)&from, len), 0); /* empty is a datagram too */
        loop_turn(l, 1000);
        assert_int_equal(S.n, 2);
        assert_int_equal(S.len, 0);
        pkt_close(S.p);
        close(fd);
    }
    loop_free(l);
    sock_trim();
}

static void datagrams_go_there_and_back(void **state)
{
    there_and_back("127.0.0.1");
    there_and_back("::1");
}

/* Full cone: whoever is spoken to sees the same port. */
static void one_port_for_every_peer(void **state)
{
    struct loop *l = loop_new();
    struct sockaddr_in a, b;
    socklen_t la = sizeof(a), lb = sizeof(b);
    struct dest to[2];
    int fd[2] = { peer_open("127.0.0.1", &to[0]), peer_open("127.0.0.1", &to[1]) };
    char buf[10];

    memset(&S, 0, sizeof(S));
    adopt(&S, sock_udp(l, NULL));
    assert_int_equal(pkt_send(S.p, &to[0], "1", 1), 0);
    assert_int_equal(pkt_send(S.p, &to[1], "2", 1), 0);
    assert_int_equal(recvfrom(fd[0], buf, 10, 0, (struct sockaddr *)&a, &la), 1);
    assert_int_equal(recvfrom(fd[1], buf, 10, 0, (struct sockaddr *)&b, &lb), 1);
    assert_int_equal(a.sin_port, b.sin_port);
    pkt_close(S.p);
    close(fd[0]);
    close(fd[1]);
    loop_free(l);
    sock_trim();
}

/* Opens a session on which `fd` can answer. */
static void greet(struct loop *l, int fd, const struct dest *to, struct sockaddr_in *back)
{
    socklen_t len = sizeof(*back);
    char c;

    memset(&S, 0, sizeof(S));
    adopt(&S, sock_udp(l, NULL));
    assert_int_equal(pkt_send(S.p, to, "?", 1), 0);
    assert_int_equal(recvfrom(fd, &c, 1, 0, (struct sockaddr *)back, &len), 1);
}

static void a_burst_arrives_whole_and_in_order(void **state)
{
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to;
    int fd = peer_open("127.0.0.1", &to);

    greet(l, fd, &to, &back);
    S.in_order = true;
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(sendto(fd, &i, sizeof(i), 0, (struct sockaddr *)&back, sizeof(back)), sizeof(i));
    for (int i = 0; i < 100 && S.n < 100; i++)
        loop_turn(l, 1000);
    assert_int_equal(S.n, 100);
    pkt_close(S.p);
    close(fd);
    loop_free(l);
    sock_trim();
}

/* The first of a turn goes at once, the others at its end; each stays a datagram of its own. */
static void a_burst_leaves_whole_and_in_order(void **state)
{
    static const size_t sizes[] = { 900, 900, 900, 900, 100, 900, 1000, 0, 900, 900, 1 };
    const int n = sizeof(sizes) / sizeof(sizes[0]);
    uint8_t data[1000], got[2000];
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to, other;
    int fd = peer_open("127.0.0.1", &to), fd2 = peer_open("127.0.0.1", &other);

    greet(l, fd, &to, &back);
    for (int i = 0; i < n; i++) {
        memset(data, i + 1, sizeof(data));
        assert_int_equal(pkt_send(S.p, &to, data, sizes[i]), 0);
    }
    memset(data, 77, sizeof(data));
    assert_int_equal(pkt_send(S.p, &other, data, 900), 0); /* what waits for another peer goes first */
    loop_turn(l, 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), sizes[i]);
        memset(data, i + 1, sizeof(data));
        assert_memory_equal(got, data, sizes[i]);
    }
    assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
    assert_int_equal(recv(fd2, got, sizeof(got), MSG_DONTWAIT), 900);
    pkt_close(S.p);
    close(fd);
    close(fd2);
    loop_free(l);
    sock_trim();
    buf_trim();
}

static void what_waits_is_sent_before_the_session_closes(void **state)
{
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to;
    char got[10];
    int fd = peer_open("127.0.0.1", &to);

    greet(l, fd, &to, &back);
    for (int i = 0; i < 100; i++) /* longer than a train is */
        assert_int_equal(pkt_send(S.p, &to, "datagram", 8), 0);
    pkt_close(S.p);
    for (int i = 0; i < 100; i++)
        assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 8);
    close(fd);
    loop_free(l);
    sock_trim();
    buf_trim();
}

/* Larger than what a segment may be: they go one by one, in fragments where they must. */
static void datagrams_that_cannot_ride_together_arrive(void **state)
{
    static uint8_t big[30000], got[65536];
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to;
    int fd = peer_open("127.0.0.1", &to);

    greet(l, fd, &to, &back);
    for (int i = 0; i < 5; i++) {
        memset(big, i + 1, sizeof(big));
        assert_int_equal(pkt_send(S.p, &to, big, sizeof(big)), 0);
    }
    loop_turn(l, 0);
    for (int i = 0; i < 5; i++) {
        memset(big, i + 1, sizeof(big));
        assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), sizeof(big));
        assert_memory_equal(got, big, sizeof(big));
    }
    pkt_close(S.p);
    close(fd);
    loop_free(l);
    sock_trim();
    buf_trim();
}

/* A peer that sends a train, which this kernel hands over put together. */
static void a_train_is_taken_apart(void **state)
{
    static uint8_t all[30 * 700 + 100];
    uint16_t each = 700;
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to;
    int fd = peer_open("127.0.0.1", &to), seg = each;

    greet(l, fd, &to, &back);
    for (uint32_t i = 0; i < 31; i++)
        memcpy(all + (size_t)i * each, &i, sizeof(i));
    assert_int_equal(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &seg, sizeof(seg)), 0);
    S.in_order = true;
    assert_int_equal(sendto(fd, all, sizeof(all), 0, (struct sockaddr *)&back, sizeof(back)), sizeof(all));
    for (int i = 0; i < 31 && S.n < 31; i++)
        loop_turn(l, 1000);
    assert_int_equal(S.n, 31);
    assert_int_equal(S.len, 100);
    pkt_close(S.p);
    close(fd);
    loop_free(l);
    sock_trim();
}

static void the_largest_datagram_both_ways(void **state)
{
    static uint8_t big[65507], got[65536];
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to;
    int fd = peer_open("127.0.0.1", &to);

    greet(l, fd, &to, &back);
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 31 + i / 256);
    assert_int_equal(sendto(fd, big, sizeof(big), 0, (struct sockaddr *)&back, sizeof(back)), sizeof(big));
    loop_turn(l, 1000);
    assert_int_equal(S.len, sizeof(big));
    assert_memory_equal(S.last, big, sizeof(big));
    assert_int_equal(pkt_send(S.p, &to, big, sizeof(big)), 0);
    assert_int_equal(recv(fd, got, sizeof(got), 0), sizeof(big));
    assert_memory_equal(got, big, sizeof(big));
    assert_int_equal(pkt_send(S.p, &to, got, sizeof(got)), -EMSGSIZE);
    pkt_close(S.p);
    close(fd);
    loop_free(l);
    sock_trim();
}

static void a_name_is_not_an_address(void **state)
{
    struct loop *l = loop_new();
    struct dest to = { .host = "example.com", .at.port = 53 };

    memset(&S, 0, sizeof(S));
    adopt(&S, sock_udp(l, NULL));
    assert_int_equal(pkt_send(S.p, &to, "x", 1), -ERR_NAME);
    pkt_close(S.p);
    loop_free(l);
    sock_trim();
}

static void closed_in_the_middle_of_a_batch(void **state)
{
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to;
    int fd = peer_open("127.0.0.1", &to);

    greet(l, fd, &to, &back);
    S.close_at_once = true;
    for (int i = 0; i < 5; i++)
        sendto(fd, "x", 1, 0, (struct sockaddr *)&back, sizeof(back));
    loop_turn(l, 1000);
    loop_turn(l, 0);
    assert_int_equal(S.n, 1);
    close(fd);
    loop_free(l);
    sock_trim();
}

static void connected_hears_only_its_peer(void **state)
{
    struct loop *l = loop_new();
    struct dest to, stranger;
    struct sockaddr_in back;
    socklen_t len = sizeof(back);
    struct pktsess *p;
    int fd = peer_open("127.0.0.1", &to), other = peer_open("127.0.0.1", &stranger);
    char c;

    memset(&S, 0, sizeof(S));
    assert_int_equal(sock_udp_connected(l, &to.at, NULL, &p), 0);
    adopt(&S, p);
    assert_int_equal(pkt_send(p, NULL, "?", 1), 0);
    assert_int_equal(recvfrom(fd, &c, 1, 0, (struct sockaddr *)&back, &len), 1);
    sendto(other, "no", 2, 0, (struct sockaddr *)&back, len);
    sendto(fd, "yes", 3, 0, (struct sockaddr *)&back, len);
    loop_turn(l, 1000);
    loop_turn(l, 0);
    assert_int_equal(S.n, 1);
    assert_memory_equal(S.last, "yes", 3);
    assert_true(endpoint_eq(&S.from, &to.at));
    pkt_close(p);
    close(fd);
    close(other);
    loop_free(l);
    sock_trim();
}

static void a_closed_port_does_not_kill_the_session(void **state)
{
    struct loop *l = loop_new();
    struct dest to;
    struct pktsess *p;
    struct sockaddr_storage ss;
    socklen_t len;
    int fd = peer_open("127.0.0.1", &to);
    char buf[10];

    memset(&S, 0, sizeof(S));
    assert_int_equal(sock_udp_connected(l, &to.at, NULL, &p), 0);
    adopt(&S, p);
    close(fd);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pkt_send(p, NULL, "anybody?", 8), 0);
        loop_turn(l, 0);
    }
    assert_int_equal(S.dead, 0);
    len = endpoint_to_sockaddr(&to.at, &ss);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(pkt_send(p, NULL, "now?", 4), 0);
    assert_int_equal(recv(fd, buf, sizeof(buf), 0), 4);
    pkt_close(p);
    close(fd);
    loop_free(l);
    sock_trim();
}

static void a_hard_error_is_told_once(void **state)
{
    struct loop *l = loop_new();
    struct sockaddr_in back;
    struct dest to;
    int fd = peer_open("127.0.0.1", &to);

    greet(l, fd, &to, &back);
    sendto(fd, "x", 1, 0, (struct sockaddr *)&back, sizeof(back));
    recvmmsg_error = EHOSTUNREACH;
    loop_turn(l, 1000);
    assert_int_equal(S.dead, 0);
    recvmmsg_error = ECONNABORTED; /* what "ss -K" does to a socket */
    loop_turn(l, 1000);
    loop_turn(l, 0);
    assert_int_equal(S.dead, 1);
    assert_int_equal(S.err, -ECONNABORTED);
    assert_int_equal(pkt_send(S.p, &to, "x", 1), -ERR_CLOSED);
    recvmmsg_error = 0;
    loop_turn(l, 0);
    assert_int_equal(S.n, 0);
    pkt_close(S.p);
    close(fd);
    loop_free(l);
    sock_trim();
}

static void no_descriptors_no_session(void **state)
{
    struct loop *l = loop_new();
    struct rlimit all, none;
    struct pktsess *p = NULL;
    struct dest to;
    int fd = peer_open("127.0.0.1", &to), next = dup(0);
    char c;

    close(next);
    memset(&S, 0, sizeof(S));
    adopt(&S, sock_udp(l, NULL));
    getrlimit(RLIMIT_NOFILE, &all);
    none = (struct rlimit){ (rlim_t)next, all.rlim_max };
    setrlimit(RLIMIT_NOFILE, &none);
    assert_int_equal(sock_connect(&to.at, NULL), -EMFILE);
    assert_int_equal(pkt_send(S.p, &to, "x", 1), -EMFILE);
    assert_int_equal(sock_udp_connected(l, &to.at, NULL, &p), -EMFILE);
    assert_null(p);
    setrlimit(RLIMIT_NOFILE, &all);
    assert_int_equal(pkt_send(S.p, &to, "x", 1), 0); /* the session lives */
    assert_int_equal(recv(fd, &c, 1, 0), 1);
    pkt_close(S.p);
    close(fd);
    loop_free(l);
    sock_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readable_is_told_once_per_question),
        cmocka_unit_test(interest_stays_while_somebody_reads),
        cmocka_unit_test(eof_behind_a_short_read_is_seen),
        cmocka_unit_test(an_event_without_owner_is_not_lost),
        cmocka_unit_test(writable_is_told_when_there_is_room_again),
        cmocka_unit_test(closed_in_its_own_callback),
        cmocka_unit_test(closed_in_order_delivers_all),
        cmocka_unit_test(closed_with_an_error_resets),
        cmocka_unit_test(a_reset_stays_a_reset),
        cmocka_unit_test(a_reset_nobody_waits_for_does_not_spin),
        cmocka_unit_test(a_refused_connect_says_so),
        cmocka_unit_test(sockets_as_the_caller_wants_them),
        cmocka_unit_test(fast_open_delivers),
        cmocka_unit_test(an_interface_that_is_not_there),
        cmocka_unit_test(what_is_to_have_a_mark_has_it_or_fails),
        cmocka_unit_test(what_is_no_socket),
        cmocka_unit_test(datagrams_go_there_and_back),
        cmocka_unit_test(one_port_for_every_peer),
        cmocka_unit_test(a_burst_arrives_whole_and_in_order),
        cmocka_unit_test(a_burst_leaves_whole_and_in_order),
        cmocka_unit_test(what_waits_is_sent_before_the_session_closes),
        cmocka_unit_test(datagrams_that_cannot_ride_together_arrive),
        cmocka_unit_test(a_train_is_taken_apart),
        cmocka_unit_test(the_largest_datagram_both_ways),
        cmocka_unit_test(a_name_is_not_an_address),
        cmocka_unit_test(closed_in_the_middle_of_a_batch),
        cmocka_unit_test(connected_hears_only_its_peer),
        cmocka_unit_test(a_closed_port_does_not_kill_the_session),
        cmocka_unit_test(a_hard_error_is_told_once),
        cmocka_unit_test(no_descriptors_no_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
