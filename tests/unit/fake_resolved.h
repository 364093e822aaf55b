/*
 * fake_resolved.h - a systemd-resolved that only remembers what it is told: the messages of org.freedesktop.resolve1, on a private bus
 *
 * Every call is a line of its log: "SetLinkDNS 7 198.18.0.2", "SetLinkDomains 7 ~.", "SetLinkLLMNR 7 no", "RevertLink 7", "FlushCaches".
 * Link 1 has the domain "~." from the beginning. How it behaves is said by a word: "" well; "refuse": SetLinkDNS is an error; "forget":
 * what is set is not kept; "deaf": no call is answered.
 */
#ifndef TESTS_FAKE_RESOLVED_H
#define TESTS_FAKE_RESOLVED_H

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

struct fake_resolved {
    FILE *log;
    const char *how;
    sd_bus *bus;
    /* the one link that is told something */
    int link;
    uint8_t dns[16];
    size_t dns_len;
    char domain[256];
    int route;
};

static inline int fake_set_dns(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;
    char text[64] = "";
    const void *b;
    size_t len;
    int family, link;

    if (!strcmp(f->how, "refuse"))
        return sd_bus_error_set(e, "org.freedesktop.DBus.Error.AccessDenied", "nobody may");
    if (sd_bus_message_read(m, "i", &link) < 0 || sd_bus_message_enter_container(m, 'a', "(iay)") < 0)
        return -EINVAL;
    f->link = link;
    f->dns_len = 0;
    while (sd_bus_message_enter_container(m, 'r', "iay") > 0) {
        if (sd_bus_message_read(m, "i", &family) < 0 || sd_bus_message_read_array(m, 'y', &b, &len) < 0 || len > sizeof(f->dns) ||
            sd_bus_message_exit_container(m) < 0)
            return -EINVAL;
        if (strcmp(f->how, "forget") != 0) {
            memcpy(f->dns, b, len);
            f->dns_len = len;
        }
        inet_ntop(family, b, text, sizeof(text));
    }
    fprintf(f->log, "SetLinkDNS %d %s\n", link, text);
    return sd_bus_reply_method_return(m, "");
}

static inline int fake_set_domains(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;
    const char *domain;
    int link, route;

    if (sd_bus_message_read(m, "i", &link) < 0 || sd_bus_message_enter_container(m, 'a', "(sb)") < 0)
        return -EINVAL;
    while (sd_bus_message_read(m, "(sb)", &domain, &route) > 0) {
        snprintf(f->domain, sizeof(f->domain), "%s", domain);
        f->route = route;
        fprintf(f->log, "SetLinkDomains %d %s%s\n", link, route ? "~" : "", domain);
    }
    return sd_bus_reply_method_return(m, "");
}

static inline int fake_set_bool(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;
    int link, on;

    if (sd_bus_message_read(m, "ib", &link, &on) < 0)
        return -EINVAL;
    fprintf(f->log, "%s %d %s\n", sd_bus_message_get_member(m), link, on ? "yes" : "no");
    return sd_bus_reply_method_return(m, "");
}

static inline int fake_set_word(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;
    const char *word;
    int link;

    if (sd_bus_message_read(m, "is", &link, &word) < 0)
        return -EINVAL;
    fprintf(f->log, "%s %d %s\n", sd_bus_message_get_member(m), link, word);
    return sd_bus_reply_method_return(m, "");
}

static inline int fake_revert(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;
    int link;

    if (sd_bus_message_read(m, "i", &link) < 0)
        return -EINVAL;
    f->dns_len = 0;
    f->domain[0] = 0;
    fprintf(f->log, "RevertLink %d\n", link);
    return sd_bus_reply_method_return(m, "");
}

static inline int fake_flush(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;

    fprintf(f->log, "FlushCaches\n");
    return sd_bus_reply_method_return(m, "");
}

static inline int fake_get_link(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    return sd_bus_reply_method_return(m, "o", "/org/freedesktop/resolve1/link/_37");
}

static inline int fake_domains(sd_bus *b, const char *path, const char *i, const char *p, sd_bus_message *reply, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;

    return *f->domain ? sd_bus_message_append(reply, "a(isb)", 2, f->link, f->domain, f->route, 1, ".", 1)
                      : sd_bus_message_append(reply, "a(isb)", 1, 1, ".", 1);
}

static inline int fake_link_dns(sd_bus *b, const char *path, const char *i, const char *p, sd_bus_message *reply, void *arg,
                                sd_bus_error *e)
{
    struct fake_resolved *f = arg;

    if (!f->dns_len)
        return sd_bus_message_append(reply, "a(iay)", 0);
    return sd_bus_message_append(reply, "a(iay)", 1, f->dns_len == 4 ? AF_INET : AF_INET6, 4, f->dns[0], f->dns[1], f->dns[2], f->dns[3]);
}

static inline int fake_link_domains(sd_bus *b, const char *path, const char *i, const char *p, sd_bus_message *reply, void *arg,
                                    sd_bus_error *e)
{
    struct fake_resolved *f = arg;

    return *f->domain ? sd_bus_message_append(reply, "a(sb)", 1, f->domain, f->route) : sd_bus_message_append(reply, "a(sb)", 0);
}

/* Somebody else takes it back, as network managers do. */
static inline int fake_wipe(sd_bus_message *m, void *arg, sd_bus_error *e)
{
    struct fake_resolved *f = arg;

    f->dns_len = 0;
    fprintf(f->log, "Wipe\n");
    return sd_bus_reply_method_return(m, "");
}

#define FAKE_METHOD(name, types, fn) SD_BUS_METHOD(name, types, "", fn, SD_BUS_VTABLE_UNPRIVILEGED)

static const sd_bus_vtable fake_manager[] = {
    SD_BUS_VTABLE_START(0),
    FAKE_METHOD("SetLinkDNS", "ia(iay)", fake_set_dns),
    FAKE_METHOD("SetLinkDomains", "ia(sb)", fake_set_domains),
    FAKE_METHOD("SetLinkDefaultRoute", "ib", fake_set_bool),
    FAKE_METHOD("SetLinkLLMNR", "is", fake_set_word),
    FAKE_METHOD("SetLinkMulticastDNS", "is", fake_set_word),
    FAKE_METHOD("SetLinkDNSOverTLS", "is", fake_set_word),
    FAKE_METHOD("SetLinkDNSSEC", "is", fake_set_word),
    FAKE_METHOD("RevertLink", "i", fake_revert),
    FAKE_METHOD("FlushCaches", "", fake_flush),
    FAKE_METHOD("Wipe", "", fake_wipe),
    SD_BUS_METHOD("GetLink", "i", "o", fake_get_link, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Domains", "a(isb)", fake_domains, 0, 0),
    SD_BUS_VTABLE_END,
};
static const sd_bus_vtable fake_link[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("DNS", "a(iay)", fake_link_dns, 0, 0),
    SD_BUS_PROPERTY("Domains", "a(sb)", fake_link_domains, 0, 0),
    SD_BUS_VTABLE_END,
};

/* Serves until the bus goes or the process is ended; a line on `ready` when it can be asked. Exit status. */
static inline int fake_resolved_run(const char *how, FILE *log, int ready)
{
    struct fake_resolved f = { .log = log, .how = how };

    setvbuf(log, NULL, _IOLBF, 0);
    if (sd_bus_open_system(&f.bus) < 0 ||
        sd_bus_add_object_vtable(f.bus, NULL, "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager", fake_manager, &f) < 0 ||
        sd_bus_add_object_vtable(f.bus, NULL, "/org/freedesktop/resolve1/link/_37", "org.freedesktop.resolve1.Link", fake_link, &f) < 0 ||
        sd_bus_request_name(f.bus, "org.freedesktop.resolve1", 0) < 0)
        return 1;
    if (write(ready, "\n", 1) != 1)
        return 1;
    while (strcmp(how, "deaf") != 0)
        if (sd_bus_process(f.bus, NULL) < 0 || sd_bus_wait(f.bus, 1000000) < 0)
            return 1;
    pause();
    return 0;
}

#endif
