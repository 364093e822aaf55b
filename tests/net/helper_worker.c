/*
 * helper_worker.c - a worker of a hundred lines, to test the supervisor without an engine
 *
 *   helper run -f PROFILE -d DIR      the supervisor, with this program as its worker
 *   helper cleanup -d DIR
 *
 * Its profile has a "key value" pair a line (see `keys`). Datagrams that come by the TUN are sent back to their sender; what comes to the resolver's sockets is a
 * command:  ping -> "pong PID"    up ADDR:PORT TEXT -> TEXT is sent there from a socket of the worker, and the answer comes back    powers -> what it may not do
 *           owner LOCAL REMOTE -> "uid UID pid PID PATH" of the UDP socket between them, or "none"
 *           say TYPE [wish] [short] [descriptor] -> that message to the supervisor, out of turn
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"
#include "core/sock.h"
#include "platform/ipc.h"

#define VNET_LEN 10
#define OUT_MAX 512

struct helper {
    struct plat_worker plat;
    struct plat_tun want;
    struct plat_tun_got got;
    struct loop *loop;
    struct io tun, udp[2], tcp[2];
    struct timer crash;
    struct cidr include[PLAT_MAX_ROUTES], exclude[PLAT_MAX_ROUTES];
    char profile[65536];
    int crash_ms, exit_status;
    bool crash_early, refuse, deaf, no_tun;
    struct question { /* the one about a socket that is under way */
        struct plat_owner owner;
        struct sockaddr_storage from;
        socklen_t len;
        int fd; /* 0: none is */
        uid_t uid;
    } question;
};

static void add_route(struct cidr *v, uint32_t *n, const char *text)
{
    if (*n < PLAT_MAX_ROUTES && cidr_parse(text, &v[*n]) == 0)
        ++*n;
}

/* The address with its host bits, and a length. */
static void host(struct cidr *c, const char *text)
{
    char a[64];

    snprintf(a, sizeof(a), "%.*s", (int)strcspn(text, "/"), text);
    cidr_parse(text, c);
    addr_parse(a, &c->ip);
}

static void set_key(struct helper *h, const char *k, const char *v)
{
    struct plat_tun *t = &h->want;

    if (!strcmp(k, "device"))           snprintf(t->device, sizeof(t->device), "%s", v);
    else if (!strcmp(k, "mtu"))         t->mtu = (uint32_t)atoi(v);
    else if (!strcmp(k, "addr4"))       host(&t->addr4, v);
    else if (!strcmp(k, "addr6"))       host(&t->addr6, v);
    else if (!strcmp(k, "fake4"))       cidr_parse(v, &t->fake4);
    else if (!strcmp(k, "fake6"))       cidr_parse(v, &t->fake6);
    else if (!strcmp(k, "strict"))      t->strict_route = atoi(v);
    else if (!strcmp(k, "auto-route"))  t->auto_route = atoi(v);
    else if (!strcmp(k, "redirect"))    t->dns_redirect = atoi(v);
    else if (!strcmp(k, "table"))       t->table = (uint32_t)atoi(v);
    else if (!strcmp(k, "prio"))        t->rule_prio = (uint32_t)atoi(v);
    else if (!strcmp(k, "include"))     add_route(h->include, &t->n_include, v);
    else if (!strcmp(k, "exclude"))     add_route(h->exclude, &t->n_exclude, v);
    else if (!strcmp(k, "exit"))        h->exit_status = atoi(v);
    else if (!strcmp(k, "crash-early")) h->crash_early = true;
    else if (!strcmp(k, "crash-after")) h->crash_ms = atoi(v);
    else if (!strcmp(k, "refuse"))      h->refuse = true;
    else if (!strcmp(k, "deaf"))        h->deaf = true;
    else if (!strcmp(k, "no-tun"))      h->no_tun = true;
}

static void read_profile(struct helper *h, int fd)
{
    ssize_t n = read(fd, h->profile, sizeof(h->profile) - 1);
    char *save = NULL;

    close(fd);
    h->profile[n > 0 ? n : 0] = 0;
    h->want = (struct plat_tun){ .mtu = 1500, .auto_route = true, .dns_redirect = true, .ipv6 = true, .table = 2022, .rule_prio = 9000,
                                 .include = h->include, .exclude = h->exclude };
    host(&h->want.addr4, "198.18.0.1/30");
    cidr_parse("198.18.0.0/16", &h->want.fake4);
    h->crash_ms = h->exit_status = 0;
    h->crash_early = h->refuse = h->deaf = h->no_tun = false;
    for (char *line = strtok_r(h->profile, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *blank = strchr(line, ' ');

        if (blank)
            *blank++ = 0;
        set_key(h, line, blank ? blank : "");
    }
}

/* ---- the TUN: every datagram goes back where it came from ---- */

static void swap(uint8_t *a, uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t t = a[i];

        a[i] = b[i];
        b[i] = t;
    }
}

static void on_packet(struct io *io, uint32_t ready)
{
    struct helper *h = container_of(io, struct helper, tun);
    static uint8_t buf[VNET_LEN + 65535];
    size_t off = h->got.vnet_hdr ? VNET_LEN : 0;
    ssize_t n = read(io->fd, buf, sizeof(buf));
    uint8_t *ip = buf + off;

    if (n < (ssize_t)off + 28)
        return;
    if (ip[0] >> 4 == 4 && ip[9] == IPPROTO_UDP && (ip[0] & 15) == 5) {
        swap(ip + 12, ip + 16, 4);
        swap(ip + 20, ip + 22, 2);
    } else if (ip[0] >> 4 == 6 && ip[6] == IPPROTO_UDP && n >= (ssize_t)off + 48) {
        swap(ip + 8, ip + 24, 16);
        swap(ip + 40, ip + 42, 2);
    } else {
        return;
    }
    if (write(io->fd, buf, (size_t)n) != n) /* checksums, also half-made ones, do not mind the swap */
        perror("tun");
}

/* ---- commands ---- */

static void up(const char *arg, char *out, size_t room)
{
    char where[64], text[64];
    struct endpoint to;
    struct sockaddr_storage ss;
    struct timeval patience = { .tv_usec = 500000 };
    socklen_t len;
    ssize_t n = -1;
    int fd;

    snprintf(out, room, "none");
    if (sscanf(arg, "%63s %63s", where, text) != 2 || endpoint_parse(where, &to) < 0)
        return;
    len = endpoint_to_sockaddr(&to, &ss);
    fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&ss, len) == 0 && send(fd, text, strlen(text), 0) > 0)
        n = recv(fd, out, room - 1, 0);
    if (n >= 0)
        out[n] = 0;
    else
        snprintf(out, room, "none: %s", strerror(errno));
    close(fd);
}

/* Tries what a worker must not be able to do; names what worked. */
static void powers(char *out, size_t room)
{
    char *const argv[] = { (char *)"true", NULL };
    pid_t pid = fork();
    int worked = 0;

    if (pid == 0) {
        execv("/bin/true", argv);
        _exit(errno == EPERM ? 0 : 1);
    }
    worked += open("/etc/shadow", O_RDONLY) >= 0 ? 1 : 0;
    worked += open("/dev/net/tun", O_RDWR) >= 0 ? 2 : 0;
    worked += socket(AF_PACKET, SOCK_RAW, 0) >= 0 || errno != EAFNOSUPPORT ? 4 : 0;
    worked += socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0 ? 8 : 0;
    worked += setuid(0) == 0 ? 16 : 0;
    worked += kill(getppid(), 0) == 0 ? 32 : 0;
    snprintf(out, room, "worked %d", worked);
}

static void reply(const struct question *q, const char *text)
{
    sendto(q->fd, text, strlen(text), 0, (const struct sockaddr *)&q->from, q->len);
}

static void on_owner(struct plat_owner *o, const struct plat_program *p)
{
    struct question *q = container_of(o, struct question, owner);
    char text[OUT_MAX];

    snprintf(text, sizeof(text), "uid %u pid %d %s", q->uid, p ? p->pid : 0, p ? p->path : "none");
    reply(q, text);
    q->fd = 0;
}

static void ask_owner(struct helper *h, const char *arg)
{
    struct question *q = &h->question;
    char a[64], b[64];
    struct endpoint local, remote;
    uint64_t inode;

    q->owner.done = on_owner;
    if (sscanf(arg, "%63s %63s", a, b) == 2 && endpoint_parse(a, &local) == 0 && endpoint_parse(b, &remote) == 0 &&
        plat_socket(true, &local, &remote, &q->uid, &inode) == 0 && plat_owner_ask(&h->plat, &q->owner, q->uid, inode) == 0)
        return;
    reply(q, "none");
    q->fd = 0;
}

/* Says something to the supervisor that no worker should say now: a type, perhaps "wish" (filled as a true one), "short" or "descriptor". */
static void say(const char *arg, char *out, size_t room)
{
    struct msg m = ipc_msg((enum msg_type)atoi(arg));
    int r = 0;

    if (strstr(arg, "wish")) {
        m.tun.mtu = 1500;
        m.tun.table = 2022;
        m.tun.rule_prio = 9000;
        host(&m.tun.addr4, "198.18.0.1/30");
    }
    if (strstr(arg, "short"))
        r = send(3, &m, sizeof(m) - 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
    else
        r = ipc_send(3, &m, (int[]){ 3 }, strstr(arg, "descriptor") ? 1 : 0);
    snprintf(out, room, "said %d", r);
}

static void command(const char *in, char *out, size_t room)
{
    if (!strncmp(in, "up ", 3))
        up(in + 3, out, room);
    else if (!strncmp(in, "powers", 6))
        powers(out, room);
    else if (!strncmp(in, "say ", 4))
        say(in + 4, out, room);
    else
        snprintf(out, room, "pong %d", getpid());
}

static void on_query(struct helper *h, struct io *io)
{
    char in[512], out[OUT_MAX];
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    ssize_t n = recvfrom(io->fd, in, sizeof(in) - 1, 0, (struct sockaddr *)&from, &len);

    if (n < 0)
        return;
    in[n] = 0;
    if (!strncmp(in, "owner ", 6) && !h->question.fd) {
        h->question.fd = io->fd;
        h->question.from = from;
        h->question.len = len;
        ask_owner(h, in + 6);
        return;
    }
    command(in, out, sizeof(out));
    sendto(io->fd, out, strlen(out), 0, (struct sockaddr *)&from, len);
}

static void on_query4(struct io *io, uint32_t ready)
{
    on_query(container_of(io, struct helper, udp[0]), io);
}

static void on_query6(struct io *io, uint32_t ready)
{
    on_query(container_of(io, struct helper, udp[1]), io);
}

static void on_connection(struct io *io, uint32_t ready)
{
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    dprintf(fd, "tcp %d\n", getpid());
    close(fd);
}

/* ---- life ---- */

static void on_stop(struct plat_worker *w)
{
    struct helper *h = w->owner;

    if (!h->deaf)
        loop_stop(h->loop);
}

static void on_reload(struct plat_worker *w, int fd, int local)
{
    struct helper *h = w->owner;
    struct plat_tun_got got;
    char why[256];

    close(local);
    read_profile(h, fd);
    if (h->refuse)
        fprintf(stderr, "helper: refused\n");
    else if (plat_worker_tun(w, &h->want, &got, why) < 0 || plat_worker_ready(w, why) < 0)
        fprintf(stderr, "helper: not taken: %s\n", why);
    else
        fprintf(stderr, "helper: taken, table %u prio %u redirect %d, descriptors %d\n", got.table, got.rule_prio, got.dns_redirect, got.tun_fd);
    if (h->crash_ms)
        timer_set(h->loop, &h->crash, (uint64_t)h->crash_ms);
}

static void on_crash(struct timer *t)
{
    raise(SIGKILL);
}

static void watch(struct helper *h, struct io *io, int fd, void (*cb)(struct io *, uint32_t))
{
    io->cb = cb;
    if (fd >= 0)
        io_watch(h->loop, io, fd, IO_READ);
}

static int serve(struct helper *h)
{
    char why[256] = "";
    int r = 0;

    if (!h->no_tun)
        r = plat_worker_tun(&h->plat, &h->want, &h->got, why);
    if (h->crash_early)
        raise(SIGKILL);
    if (r < 0 || plat_worker_ready(&h->plat, why) < 0) {
        fprintf(stderr, "helper: %s\n", why);
        return 1;
    }
    fprintf(stderr, "helper: device %s vnet %d csum %d tso %d uso %d dns %d redirect %d table %u prio %u\n", h->got.device, h->got.vnet_hdr, h->got.csum, h->got.tso,
            h->got.uso, h->got.dns_port, h->got.dns_redirect, h->got.table, h->got.rule_prio);
    if (!h->no_tun) {
        watch(h, &h->tun, h->got.tun_fd, on_packet);
        for (int i = 0; i < 2; i++) {
            watch(h, &h->udp[i], h->got.dns_udp[i], i ? on_query6 : on_query4);
            watch(h, &h->tcp[i], h->got.dns_tcp[i], on_connection);
        }
    }
    if (h->crash_ms)
        timer_set(h->loop, &h->crash, (uint64_t)h->crash_ms);
    plat_worker_watch(&h->plat, h->loop);
    loop_run(h->loop);
    return 0;
}

static int worker(void)
{
    static struct helper h;
    int r = plat_worker_init(&h.plat);

    if (r < 0) {
        fprintf(stderr, "helper: %s\n", err_str(r));
        return r == -EPERM ? 4 : 1;
    }
    h.plat.owner = &h;
    h.plat.on_reload = on_reload;
    h.plat.on_stop = on_stop;
    h.crash.cb = on_crash;
    h.loop = loop_new();
    read_profile(&h, 4);
    if (h.exit_status)
        return h.exit_status;
    r = serve(&h);
    io_unwatch(&h.tun);
    for (int i = 0; i < 2; i++) {
        io_unwatch(&h.udp[i]);
        io_unwatch(&h.tcp[i]);
    }
    timer_cancel(&h.crash);
    io_unwatch(&h.plat.io);
    loop_free(h.loop);
    return r;
}

int main(int argc, char **argv)
{
    char *const worker_argv[] = { argv[0], (char *)"worker", NULL };
    const char *profile = "-", *dir = NULL;
    int c;

    if (argc < 2)
        return 2;
    if (!strcmp(argv[1], "worker"))
        return worker();
    while ((c = getopt(argc - 1, argv + 1, "f:d:")) > 0) {
        if (c == 'f')
            profile = optarg;
        if (c == 'd')
            dir = optarg;
    }
    if (!dir)
        return 2;
    if (!strcmp(argv[1], "cleanup"))
        return plat_cleanup(dir);
    return plat_supervise(&(struct plat_run){ .profile = profile, .state_dir = dir, .worker_argv = worker_argv });
}
