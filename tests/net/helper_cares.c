/*
 * helper_cares.c - a program that looks a name up with c-ares, as curl and many others do:  helper_cares NAME [4|6]
 */
#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>

static int status = 1;

static void on_addresses(void *arg, int err, int timeouts, struct ares_addrinfo *found)
{
    char text[64];

    for (struct ares_addrinfo_node *n = err ? NULL : found->nodes; n; n = n->ai_next) {
        const void *a = n->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)(void *)n->ai_addr)->sin_addr
                                                : (void *)&((struct sockaddr_in6 *)(void *)n->ai_addr)->sin6_addr;

        puts(inet_ntop(n->ai_family, a, text, sizeof(text)));
        status = 0;
    }
    if (err)
        fprintf(stderr, "%s\n", ares_strerror(err));
    if (found)
        ares_freeaddrinfo(found);
}

int main(int argc, char **argv)
{
    struct ares_addrinfo_hints hints = { .ai_family = argc > 2 && *argv[2] == '6' ? AF_INET6 : AF_INET };
    ares_channel ch;

    if (argc < 2 || ares_library_init(ARES_LIB_INIT_ALL) || ares_init(&ch))
        return 2;
    ares_getaddrinfo(ch, argv[1], NULL, &hints, on_addresses, NULL);
    for (;;) {
        struct timeval tv, *next;
        fd_set r, w;
        int n;

        FD_ZERO(&r);
        FD_ZERO(&w);
        if (!(n = ares_fds(ch, &r, &w)))
            break;
        next = ares_timeout(ch, NULL, &tv);
        select(n, &r, &w, NULL, next);
        ares_process(ch, &r, &w);
    }
    ares_destroy(ch);
    return status;
}
