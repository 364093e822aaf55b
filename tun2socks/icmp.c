/*
 * icmp.c - echo, and the errors we tell applications
 *
 * Echo requests to our own prefix, and those the sink does not want, are answered here; a true reply comes back by stack_icmp_send(). Errors quote
 * what the application sent and come from the address it dialled; 100 a second (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).
 */
#include <errno.h>
#include <string.h>

#include "core/err.h"
#include "tun2socks/private.h"

enum { ECHO4 = 8, ECHO4_REPLY = 0, UNREACH4 = 3, ECHO6 = 128, ECHO6_REPLY = 129, UNREACH6 = 1 };
#define ICMP_HEADER 8
#define QUOTE_MAX 1232

static void send_icmp(struct stack *st, const struct addr *from, const struct addr *to, uint8_t *head, const void *data, size_t len)
{
    uint8_t ip[IP6_HEADER];
    uint8_t proto = from->ver == 4 ? PROTO_ICMP : PROTO_ICMP6;
    uint32_t total = ICMP_HEADER + (uint32_t)len, ihl = packet_put_ip(ip, from, to, proto, total, st->ip_id++);
    uint16_t start = from->ver == 4 ? 0 : packet_pseudo_sum(from, to, proto, total);

    put16(head + 2, 0);
    put16(head + 2, packet_checksum((uint16_t)~packet_checksum(start, head, ICMP_HEADER), data, len));
    tun_write(st, (struct iovec[]){ { ip, ihl }, { head, ICMP_HEADER }, { (void *)data, len } }, 3, 0, 0, 0, 0, 0);
}

void stack_icmp_send(struct stack *st, const struct addr *from, const struct addr *to, const void *icmp, size_t len)
{
    uint8_t head[ICMP_HEADER];

    if (len < ICMP_HEADER || len > 65000 || from->ver != to->ver)
        return;
    memcpy(head, icmp, ICMP_HEADER);
    send_icmp(st, from, to, head, (const uint8_t *)icmp + ICMP_HEADER, len - ICMP_HEADER);
}

static bool in_own_prefix(const struct stack *st, const struct addr *a)
{
    return cidr_contains(&st->own4, a) || cidr_contains(&st->own6, a);
}

void icmp_packet(struct stack *st, const struct packet *p)
{
    uint8_t head[ICMP_HEADER], want = p->dst.ver == 4 ? ECHO4 : ECHO6;

    if (p->l4_len < ICMP_HEADER || p->l4[0] != want || p->l4[1] != 0)
        return;
    if (!in_own_prefix(st, &p->dst) && st->sink->echo(st->sink, &p->src, &p->dst, p->l4, p->l4_len))
        return;
    memcpy(head, p->l4, ICMP_HEADER);
    head[0] = want == ECHO4 ? ECHO4_REPLY : ECHO6_REPLY;
    send_icmp(st, &p->dst, &p->src, head, p->l4 + ICMP_HEADER, p->l4_len - ICMP_HEADER);
}

/* RFC 792; RFC 4443 section 3.1 */
static uint8_t code_for(int ver, int err)
{
    switch (err) {
    case -ECONNREFUSED:
    case -ERR_RULE: return ver == 4 ? 3 : 4; /* port */
    case -ENETUNREACH: return 0;             /* network; no route */
    case -EACCES: return ver == 4 ? 13 : 1;  /* prohibited */
    default: return ver == 4 ? 1 : 3;        /* host; address */
    }
}

void icmp_error(struct stack *st, const struct addr *src, const struct addr *dst, const uint8_t *quote, uint32_t quote_len, int err)
{
    uint8_t head[ICMP_HEADER] = { 0 };

    if (err == -ERR_DROP || !bucket_take(st, &st->errors))
        return;
    head[0] = src->ver == 4 ? UNREACH4 : UNREACH6;
    head[1] = code_for(src->ver, err);
    send_icmp(st, dst, src, head, quote, quote_len > QUOTE_MAX ? QUOTE_MAX : quote_len);
}
