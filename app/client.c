/*
 * client.c - one request to a running shunt
 *
 * HTTP/1.1 with `Connection: close` over the Unix socket of the state directory, or TCP with --controller. The answer is read to its end
 * (at most 64 MiB, 10 s of silence, more where something is fetched for us); our controller always sends a length, never chunks, for what
 * is asked here.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/app.h"

#define ANSWER_MAX      (64u << 20)
#define PATIENCE_S      10
#define LONG_PATIENCE_S 90 /* a download may take 30 s, and wait for others before it */

static int connect_unix(const char *dir)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd;

    if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/shunt.sock", dir) >= (int)sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    close(fd);
    return -errno;
}

static int connect_tcp(const char *url, char host[HOST_MAX + 16])
{
    const char *at = strncmp(url, "http://", 7) ? url : url + 7;
    char name[HOST_MAX + 1], port[8];
    struct addrinfo *all, *a;
    uint16_t p = 0;
    int fd = -1;

    snprintf(host, HOST_MAX + 16, "%.*s", (int)strcspn(at, "/"), at);
    if (hostport_split(host, name, &p) < 0)
        return -EINVAL;
    snprintf(port, sizeof(port), "%u", p ? p : 9090);
    if (getaddrinfo(name, port, &(struct addrinfo){ .ai_socktype = SOCK_STREAM }, &all))
        return -EHOSTUNREACH;
    for (a = all; a; a = a->ai_next) {
        if ((fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0)
            break;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(all);
    return fd < 0 ? -ECONNREFUSED : fd;
}

static bool send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);

        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static char *read_all(int fd, size_t *len)
{
    size_t cap = 65536;
    char *buf = malloc(cap + 1), *more;
    ssize_t n;

    *len = 0;
    while (buf && *len < ANSWER_MAX && (n = recv(fd, buf + *len, cap - *len, 0)) > 0) {
        *len += (size_t)n;
        if (*len < cap)
            continue;
        if (!(more = realloc(buf, (cap *= 2) + 1)))
            break;
        buf = more;
    }
    if (buf)
        buf[*len] = 0;
    return buf;
}

static json_t *exchange(int fd, const char *host, const struct options *o, long patience_s, const char *method, const char *path,
                        const char *body, int *status)
{
    char *request = NULL, *answer, *content;
    size_t len;
    json_t *j = NULL;
    struct timeval patience = { patience_s, 0 };

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (asprintf(&request,
                 "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s%sContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 method, path, host, o->secret ? "Authorization: Bearer " : "", o->secret ? o->secret : "", o->secret ? "\r\n" : "",
                 strlen(body), body) < 0)
        return NULL;
    if (send_all(fd, request, strlen(request)) && (answer = read_all(fd, &len))) {
        if (sscanf(answer, "HTTP/1.%*d %d", status) != 1)
            *status = 0;
        if ((content = strstr(answer, "\r\n\r\n")))
            j = json_loadb(content + 4, len - (size_t)(content + 4 - answer), JSON_DECODE_ANY, NULL);
        free(answer);
    }
    free(request);
    return j;
}

static json_t *request(const struct options *o, long patience_s, const char *method, const char *path, json_t *body, int *status)
{
    char host[HOST_MAX + 16] = "localhost";
    char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("");
    int fd = o->controller ? connect_tcp(o->controller, host) : connect_unix(o->state_dir);
    json_t *j = NULL;

    json_decref(body);
    *status = 0;
    if (fd >= 0 && text)
        j = exchange(fd, host, o, patience_s, method, path, text, status);
    if (!*status && fd == -EACCES)
        fprintf(stderr, "shunt: %s/shunt.sock: permission denied (try sudo)\n", o->state_dir);
    else if (!*status && o->controller)
        fprintf(stderr, "shunt: %s cannot be reached\n", o->controller);
    else if (!*status)
        fprintf(stderr, "shunt is not running (no answer at %s/shunt.sock)\n", o->state_dir);
    if (!*status && fd == -EACCES)
        *status = -EACCES;
    if (fd >= 0)
        close(fd);
    free(text);
    return j;
}

json_t *api(const struct options *o, const char *method, const char *path, json_t *body, int *status)
{
    return request(o, PATIENCE_S, method, path, body, status);
}

json_t *api_patient(const struct options *o, const char *method, const char *path, json_t *body, int *status)
{
    return request(o, LONG_PATIENCE_S, method, path, body, status);
}

int api_failed(int status, json_t *answer)
{
    const char *message = json_string_value(json_object_get(answer, "message"));

    if (status == -EACCES)
        return EXIT_NOT_PERMITTED;
    if (status == 0)
        return EXIT_NOT_RUNNING;
    fprintf(stderr, "shunt: %s\n", message ? message : status == 403 ? "the controller refuses us" : "the request failed");
    return status == 401 || status == 403 ? EXIT_NOT_PERMITTED : EXIT_NOT_SO;
}

char *path_segment(const char *s)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = malloc(strlen(s) * 3 + 1), *p = out;

    for (; out && *s; s++) {
        unsigned char c = (unsigned char)*s;

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c)) {
            *p++ = (char)c;
            continue;
        }
        *p++ = '%';
        *p++ = hex[c >> 4];
        *p++ = hex[c & 15];
    }
    if (out)
        *p = 0;
    return out;
}
