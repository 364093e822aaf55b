/*
 * resolved.c - systemd-resolved is told to ask us, over the bus
 *
 *   NameHasOwner? ──no──► nothing to do (and nothing is started)
 *        │ yes
 *   what does it have for our link? ──what we want──► done
 *        │ something else
 *   SetLinkDNS, SetLinkDomains "~.", SetLinkDefaultRoute, no DNSSEC, DNS over TLS, LLMNR, mDNS ──► read again ──► FlushCaches
 *
 * Fake addresses are not signed and must not be kept, so DNSSEC is off on our link and what was cached before is forgotten. Nothing of this
 * outlives the link: when the device goes, resolved forgets by itself.
 *
 * libsystemd is loaded when it is needed, by a child of the supervisor that ends soon after: a machine without it has no resolved either,
 * and the worker never carries it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "platform/sys.h"

#define NAME    "org.freedesktop.resolve1"
#define PATH    "/org/freedesktop/resolve1"
#define MANAGER "org.freedesktop.resolve1.Manager"
#define LINK    "org.freedesktop.resolve1.Link"
#define CALL_US 2000000

/* ---- the library ---- */

#define FUNCTIONS(X)                                                                                                                       \
    X(sd_bus_open_system)                                                                                                                  \
    X(sd_bus_flush_close_unref)                                                                                                            \
    X(sd_bus_set_method_call_timeout)                                                                                                      \
    X(sd_bus_call_methodv)                                                                                                                 \
    X(sd_bus_get_property)                                                                                                                 \
    X(sd_bus_message_enter_container)                                                                                                      \
    X(sd_bus_message_exit_container)                                                                                                       \
    X(sd_bus_message_read)                                                                                                                 \
    X(sd_bus_message_read_array)                                                                                                           \
    X(sd_bus_message_unref)                                                                                                                \
    X(sd_bus_error_free)

#define DECLARE(f) __typeof__(f) *f;
static struct {
    FUNCTIONS(DECLARE)
} lib;

static bool load(void)
{
    void *so = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);

#define FIND(f)                                                                                                                            \
    if (!so || !(lib.f = (__typeof__(lib.f))dlsym(so, #f)))                                                                                \
        return false;
    FUNCTIONS(FIND)
    return true;
}

/* ---- calls ---- */

/* One method of the manager. 0, or -errno with why. */
static int call(sd_bus *bus, char *why, const char *method, const char *types, ...)
{
    sd_bus_error e = SD_BUS_ERROR_NULL;
    va_list ap;
    int r;

    va_start(ap, types);
    r = lib.sd_bus_call_methodv(bus, NAME, PATH, MANAGER, method, &e, NULL, types, ap);
    va_end(ap);
    if (r < 0)
        snprintf(why, WHY_MAX, "%s: %.200s", method, e.message ? e.message : strerror(-r));
    lib.sd_bus_error_free(&e);
    return r < 0 ? r : 0;
}

/* A method with an answer; NULL when there is none. The caller lets go of it. */
static sd_bus_message *ask(sd_bus *bus, const char *name, const char *path, const char *interface, const char *method, const char *types,
                           ...)
{
    sd_bus_message *m = NULL;
    va_list ap;

    va_start(ap, types);
    if (lib.sd_bus_call_methodv(bus, name, path, interface, method, NULL, &m, types, ap) < 0)
        m = NULL;
    va_end(ap);
    return m;
}

static bool is_there(sd_bus *bus)
{
    sd_bus_message *m = ask(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", "s", NAME);
    int yes = 0;

    if (m && lib.sd_bus_message_read(m, "b", &yes) < 0)
        yes = 0;
    lib.sd_bus_message_unref(m);
    return yes;
}

/* The bus, if somebody there is resolved. */
static sd_bus *open_bus(void)
{
    sd_bus *bus = NULL;

    if (!load() || lib.sd_bus_open_system(&bus) < 0)
        return NULL;
    lib.sd_bus_set_method_call_timeout(bus, CALL_US);
    if (is_there(bus))
        return bus;
    lib.sd_bus_flush_close_unref(bus);
    return NULL;
}

/* ---- what it has ---- */

/* A property of the link. */
static sd_bus_message *property(sd_bus *bus, int link, const char *name, const char *type)
{
    sd_bus_message *path = ask(bus, NAME, PATH, MANAGER, "GetLink", "i", link), *value = NULL;
    const char *at;

    if (path && lib.sd_bus_message_read(path, "o", &at) >= 0 && lib.sd_bus_get_property(bus, NAME, at, LINK, name, NULL, &value, type) < 0)
        value = NULL;
    lib.sd_bus_message_unref(path);
    return value;
}

/* Exactly this one server? */
static bool has_server(sd_bus *bus, int link, const struct addr *server)
{
    sd_bus_message *m = property(bus, link, "DNS", "a(iay)");
    unsigned n = 0, ours = 0;

    if (!m || lib.sd_bus_message_enter_container(m, 'a', "(iay)") < 0)
        n = 2;
    while (n < 2 && lib.sd_bus_message_enter_container(m, 'r', "iay") > 0) {
        const void *b;
        int family;
        size_t len;

        if (lib.sd_bus_message_read(m, "i", &family) < 0 || lib.sd_bus_message_read_array(m, 'y', &b, &len) < 0 ||
            lib.sd_bus_message_exit_container(m) < 0)
            break;
        n++;
        ours += family == AF_INET && server->ver == 4 && len == 4 && !memcmp(b, server->b, 4);
    }
    lib.sd_bus_message_unref(m);
    return n == 1 && ours == 1;
}

static bool has_every_domain(sd_bus *bus, int link)
{
    sd_bus_message *m = property(bus, link, "Domains", "a(sb)");
    bool found = false;

    if (m && lib.sd_bus_message_enter_container(m, 'a', "(sb)") >= 0) {
        const char *domain;
        int route;

        while (!found && lib.sd_bus_message_read(m, "(sb)", &domain, &route) > 0)
            found = !strcmp(domain, ".") && route;
    }
    lib.sd_bus_message_unref(m);
    return found;
}

/* Another link that wants every name, too, is asked at the same time. */
static void name_rivals(sd_bus *bus, int link)
{
    sd_bus_message *m = NULL;
    char device[IF_NAMESIZE];
    const char *domain;
    int other, route;

    if (lib.sd_bus_get_property(bus, NAME, PATH, MANAGER, "Domains", NULL, &m, "a(isb)") < 0)
        return;
    if (lib.sd_bus_message_enter_container(m, 'a', "(isb)") >= 0)
        while (lib.sd_bus_message_read(m, "(isb)", &other, &domain, &route) > 0)
            if (other > 0 && other != link && route && !strcmp(domain, "."))
                fprintf(stderr,
                        "shunt: systemd-resolved sends every name to the servers of %s, too: its domains have \"~.\"; take that away "
                        "(resolvectl domain)\n",
                        if_indextoname((unsigned)other, device) ? device : "another link");
    lib.sd_bus_message_unref(m);
}

/* ---- what it gets ---- */

static int set_link(sd_bus *bus, int link, const struct addr *server, char *why)
{
    static const char *const off[] = { "SetLinkDNSSEC", "SetLinkDNSOverTLS", "SetLinkLLMNR", "SetLinkMulticastDNS" };
    const uint8_t *b = server->b;
    char ignored[WHY_MAX];
    int r;

    if ((r = call(bus, why, "SetLinkDNS", "ia(iay)", link, 1, AF_INET, 4, b[0], b[1], b[2], b[3])) < 0 ||
        (r = call(bus, why, "SetLinkDomains", "ia(sb)", link, 1, ".", 1)) < 0)
        return r;
    call(bus, ignored, "SetLinkDefaultRoute", "ib", link, 1); /* an old one may lack it; "~." says as much */
    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
        call(bus, ignored, off[i], "is", link, "no"); /* one that lacks it does not do it */
    return 0;
}

static bool is_set(sd_bus *bus, int link, const struct addr *server)
{
    return has_server(bus, link, server) && has_every_domain(bus, link);
}

enum told resolved_point(int link, const struct addr *server, bool first)
{
    sd_bus *bus = open_bus();
    char why[WHY_MAX] = "it forgets what it is told";
    enum told told = TOLD_NOBODY;

    if (!bus)
        return told;
    if (is_set(bus, link, server)) {
        told = TOLD_BEFORE;
    } else if (set_link(bus, link, server, why) == 0 && is_set(bus, link, server)) {
        told = TOLD_NOW;
    } else {
        told = TOLD_FAILED;
        fprintf(stderr, "shunt: systemd-resolved does not take our name server: %s\n", why);
    }
    if (first || told == TOLD_NOW)
        call(bus, why, "FlushCaches", "");
    if (first)
        name_rivals(bus, link);
    lib.sd_bus_flush_close_unref(bus);
    return told;
}

void resolved_leave(int link)
{
    sd_bus *bus = open_bus();
    char ignored[WHY_MAX];

    if (!bus)
        return;
    if (link > 0)
        call(bus, ignored, "RevertLink", "i", link);
    call(bus, ignored, "FlushCaches", "");
    lib.sd_bus_flush_close_unref(bus);
}
