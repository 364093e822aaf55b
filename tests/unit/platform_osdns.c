/*
 * platform_osdns.c - the system's resolver services: systemd-resolved on a private bus, resolvconf, /etc/resolv.conf
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "platform/sys.h"
#include "tests/unit/fake_resolved.h"

static char dir[] = "/tmp/shunt-osdns.XXXXXX";
static const struct addr server = { 4, { 198, 18, 0, 2 } };

static char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned n;

    n = (n + 1) % 4;
    snprintf(path[n], sizeof(path[n]), "%s%s", dir, name);
    return path[n];
}

static void put_file(const char *name, const char *text, mode_t mode)
{
    FILE *f = fopen(in_dir(name), "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(in_dir(name), mode), 0);
}

static const char *file(const char *name)
{
    static char text[70000];
    FILE *f = fopen(in_dir(name), "r");

    text[f ? fread(text, 1, sizeof(text) - 1, f) : 0] = 0;
    if (f)
        fclose(f);
    return text;
}

static int make_dir(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    mkdir(in_dir("/etc"), 0755);
    mkdir(in_dir("/sbin"), 0755);
    mkdir(in_dir("/run"), 0755);
    mkdir(in_dir("/run/nscd"), 0755);
    return 0;
}

static int remove_dir(void **state)
{
    char command[256];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

/* ---- the text of the file ---- */

static void a_text_and_back(void **state)
{
    static const struct {
        const char *old, *want;
    } rows[] = {
        { "", "" },
        { "nameserver 127.0.0.53\n", "#shunt# nameserver 127.0.0.53\n" },
        { "# mine\nsearch lan\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n",
          "# mine\nsearch lan\n#shunt# nameserver 10.0.0.1\n#shunt# nameserver 10.0.0.2\n" },
        { "nameserver 10.0.0.1", "#shunt# nameserver 10.0.0.1" }, /* no newline at the end */
        { "nameserver\t10.0.0.1\nnameservers 1\n nameserver x\n", "#shunt# nameserver\t10.0.0.1\nnameservers 1\n nameserver x\n" },
        { "#shunt# nameserver 1.1.1.1\n", "#shunt# #shunt# nameserver 1.1.1.1\n" },
        { "# shunt: what was here before\nnameserver 10.0.0.1\n", "# shunt: what was here before\n#shunt# nameserver 10.0.0.1\n" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *ours = resolv_text(rows[i].old, &server), *back;
        const char *rest = strstr(ours, "# shunt: what was here before\n");

        assert_int_equal(strncmp(ours, "# shunt: ", 9), 0);
        assert_non_null(strstr(ours, "\nnameserver 198.18.0.2\n"));
        assert_non_null(rest);
        assert_string_equal(strchr(rest, '\n') + 1, rows[i].want);
        back = resolv_text_before(ours);
        assert_string_equal(back, rows[i].old);
        free(back);
        free(ours);
    }
    assert_null(resolv_text_before(""));
    assert_null(resolv_text_before("nameserver 10.0.0.1\n"));
    assert_null(resolv_text_before("# shunt: names are asked here while"));
}

static void options_without_trust(void **state)
{
    static const struct {
        const char *old, *want; /* the line of ours; NULL: none */
    } rows[] = {
        { "options edns0 trust-ad\n", NULL },
        { "options edns0 timeout:2 trust-ad  rotate\n", "\noptions timeout:2 rotate\n" },
        { "options timeout:2", "\noptions timeout:2\n" },
        { "options\n", NULL },
        { "options edns00\n", "\noptions edns00\n" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *ours = resolv_text(rows[i].old, &server), *back = resolv_text_before(ours);

        *strstr(ours, "# shunt: what was here before\n") = 0;
        if (rows[i].want)
            assert_non_null(strstr(ours, rows[i].want));
        else
            assert_null(strstr(ours, "options"));
        assert_string_equal(back, rows[i].old);
        free(back);
        free(ours);
    }
}

/* ---- the file ---- */

static enum told point_file(void)
{
    char why[WHY_MAX] = "";

    return resolv_point(dir, &server, why);
}

static void the_file_and_back(void **state)
{
    static const char before[] = "search lan\nnameserver 127.0.0.53\noptions edns0";
    struct stat a, b;

    put_file("/etc/resolv.conf", before, 0640);
    stat(in_dir("/etc/resolv.conf"), &a);
    assert_int_equal(resolv_leave(dir), 0); /* not ours */
    assert_false(resolv_is_ours(dir));
    assert_int_equal(point_file(), TOLD_NOW);
    assert_int_equal(point_file(), TOLD_BEFORE);
    assert_true(resolv_is_ours(dir));
    assert_non_null(strstr(file("/etc/resolv.conf"), "nameserver 198.18.0.2\n"));
    stat(in_dir("/etc/resolv.conf"), &b);
    assert_int_equal(a.st_mode, b.st_mode);
    assert_int_equal(resolv_leave(dir), 1);
    assert_string_equal(file("/etc/resolv.conf"), before);
    stat(in_dir("/etc/resolv.conf"), &b);
    assert_int_equal(a.st_mode, b.st_mode);
    assert_int_equal(resolv_leave(dir), 0); /* twice */
    assert_string_equal(file("/etc/resolv.conf"), before);
}

static void what_a_person_writes_stays(void **state)
{
    char *text;

    put_file("/etc/resolv.conf", "nameserver 192.168.1.1\n", 0644);
    assert_int_equal(point_file(), TOLD_NOW);
    text = strdup(file("/etc/resolv.conf"));
    text = realloc(text, strlen(text) + 64);
    strcat(text, "search added.later\n");
    put_file("/etc/resolv.conf", text, 0644);
    free(text);
    assert_int_equal(resolv_leave(dir), 1);
    assert_string_equal(file("/etc/resolv.conf"), "nameserver 192.168.1.1\nsearch added.later\n");

    assert_int_equal(point_file(), TOLD_NOW); /* somebody else's file in its place: theirs is the one to come back to */
    put_file("/etc/resolv.conf", "nameserver 10.9.9.9\n", 0644);
    assert_int_equal(resolv_leave(dir), 0);
    assert_int_equal(point_file(), TOLD_NOW);
    assert_int_equal(resolv_leave(dir), 1);
    assert_string_equal(file("/etc/resolv.conf"), "nameserver 10.9.9.9\n");
}

static void another_address_of_ours(void **state)
{
    static const struct addr other = { 4, { 10, 200, 0, 2 } };
    char why[WHY_MAX];

    put_file("/etc/resolv.conf", "nameserver 127.0.0.1\n", 0644);
    assert_int_equal(point_file(), TOLD_NOW);
    assert_int_equal(resolv_point(dir, &other, why), TOLD_NOW);
    assert_non_null(strstr(file("/etc/resolv.conf"), "nameserver 10.200.0.2\n"));
    assert_null(strstr(file("/etc/resolv.conf"), "198.18"));
    assert_int_equal(resolv_leave(dir), 1);
    assert_string_equal(file("/etc/resolv.conf"), "nameserver 127.0.0.1\n");
}

static void files_that_are_left_alone(void **state)
{
    static const char *const far[] = { "nameserver 9.9.9.9\n", "nameserver 2620:fe::fe\nsearch lan\n", "", "# nameserver 127.0.0.1\n",
                                       "nameserver nonsense\n" },
                             *const near[] = { "nameserver ::1\n", "nameserver fe80::1%eth0\n",
                                               "nameserver 9.9.9.9\nnameserver 172.16.0.1\n", "nameserver fd00::1\n" };
    char *big = malloc(70000);

    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        put_file("/etc/resolv.conf", far[i], 0644);
        assert_int_equal(point_file(), TOLD_NOBODY);
        assert_string_equal(file("/etc/resolv.conf"), far[i]);
    }
    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        put_file("/etc/resolv.conf", near[i], 0644);
        assert_int_equal(point_file(), TOLD_NOW);
    }
    memset(big, '#', 69999); /* no resolv.conf has 64 KiB */
    big[69999] = 0;
    put_file("/etc/resolv.conf", big, 0644);
    free(big);
    assert_int_equal(point_file(), TOLD_FAILED);
    unlink(in_dir("/etc/resolv.conf")); /* a link is somebody's product */
    put_file("/run/theirs", "nameserver 127.0.0.1\n", 0644);
    assert_int_equal(symlink("../run/theirs", in_dir("/etc/resolv.conf")), 0);
    assert_int_equal(point_file(), TOLD_FAILED);
    assert_string_equal(file("/run/theirs"), "nameserver 127.0.0.1\n");
    assert_int_equal(resolv_leave(dir), 0);
    unlink(in_dir("/etc/resolv.conf"));
    assert_int_equal(point_file(), TOLD_FAILED); /* none at all */
    assert_int_equal(resolv_leave(dir), 0);
    assert_false(resolv_is_ours(dir));
}

static void a_file_that_cannot_be_replaced(void **state)
{
    put_file("/etc/resolv.conf", "nameserver 127.0.0.1\n", 0644);
    assert_int_equal(mkdir(in_dir("/etc/.resolv.conf.shunt"), 0755), 0); /* no new file can be made, as where it is mounted */
    assert_int_equal(point_file(), TOLD_NOW);
    assert_non_null(strstr(file("/etc/resolv.conf"), "nameserver 198.18.0.2\n"));
    assert_int_equal(resolv_leave(dir), 1);
    assert_string_equal(file("/etc/resolv.conf"), "nameserver 127.0.0.1\n");
    rmdir(in_dir("/etc/.resolv.conf.shunt"));
    put_file("/etc/.resolv.conf.shunt", "left by a killed one", 0644);
    assert_int_equal(point_file(), TOLD_NOW);
    assert_int_equal(access(in_dir("/etc/.resolv.conf.shunt"), F_OK), -1);
    assert_int_equal(resolv_leave(dir), 1);
}

/* ---- resolvconf ---- */

static enum told point_resolvconf(void)
{
    char why[WHY_MAX] = "";

    return resolvconf_point(dir, &server, why);
}

static void resolvconf_is_asked(void **state)
{
    char script[512];

    unlink(in_dir("/etc/resolv.conf"));
    snprintf(script, sizeof(script), "#!/bin/sh\necho \"$@\" >>%s/args; [ $1 = -a ] && cat >%s/stdin; [ ! -e %s/broken ]\n", dir, dir, dir);
    put_file("/sbin/resolvconf", script, 0755);
    put_file("/etc/resolv.conf", "nameserver 127.0.0.1\n", 0644);
    assert_int_equal(point_resolvconf(), TOLD_NOBODY); /* it is there, but this is not its product */
    put_file("/etc/resolv.conf", "# Generated by resolvconf\nnameserver 127.0.0.1\n", 0644);
    assert_int_equal(point_resolvconf(), TOLD_NOW);
    assert_string_equal(file("/stdin"), "nameserver 198.18.0.2\n");
    unlink(in_dir("/etc/resolv.conf"));
    assert_int_equal(symlink("../run/resolvconf/resolv.conf", in_dir("/etc/resolv.conf")), 0);
    assert_int_equal(point_resolvconf(), TOLD_NOW);
    assert_int_equal(resolvconf_leave(dir), 0);
    assert_string_equal(file("/args"), "-a lo.shunt -m 0 -x\n-a lo.shunt -m 0 -x\n-d lo.shunt\n");
    put_file("/broken", "", 0644);
    assert_int_equal(point_resolvconf(), TOLD_FAILED);
    assert_true(resolvconf_leave(dir) < 0);
    unlink(in_dir("/sbin/resolvconf")); /* systemd-resolved's own, which is told by the bus */
    put_file("/sbin/resolvectl", "#!/bin/sh\nexit 1\n", 0755);
    assert_int_equal(symlink("resolvectl", in_dir("/sbin/resolvconf")), 0);
    assert_int_equal(point_resolvconf(), TOLD_NOBODY);
    unlink(in_dir("/sbin/resolvconf"));
    assert_int_equal(resolvconf_leave(dir), -ENOENT);
    unlink(in_dir("/etc/resolv.conf"));
}

/* ---- systemd-resolved ---- */

static pid_t bus, fake;

static void end(pid_t *pid)
{
    if (*pid > 0) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
    }
    *pid = 0;
}

static bool read_byte(int fd)
{
    char c;

    return read(fd, &c, 1) == 1;
}

static bool start_bus(void)
{
    int ready[2];
    char config[2048], fd[40];

    snprintf(config, sizeof(config),
             "<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"
             "<policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>"
             "<allow user=\"*\"/></policy></busconfig>",
             dir);
    put_file("/bus.conf", config, 0644);
    snprintf(config, sizeof(config), "unix:path=%s/bus", dir);
    setenv("DBUS_SYSTEM_BUS_ADDRESS", config, 1);
    if (pipe(ready) < 0 || (bus = fork()) < 0)
        return false;
    if (bus == 0) {
        snprintf(config, sizeof(config), "--config-file=%s/bus.conf", dir);
        snprintf(fd, sizeof(fd), "--print-address=%d", ready[1]);
        execlp("dbus-daemon", "dbus-daemon", config, "--nofork", "--nopidfile", fd, (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    if (!read_byte(ready[0]))
        end(&bus);
    close(ready[0]);
    return bus > 0;
}

static void start_fake(const char *how)
{
    int ready[2];

    unlink(in_dir("/log"));
    assert_int_equal(pipe(ready), 0);
    if ((fake = fork()) == 0)
        _exit(fake_resolved_run(how, fopen(in_dir("/log"), "w"), ready[1]));
    close(ready[1]);
    assert_true(read_byte(ready[0]));
    close(ready[0]);
}

#define ALL                                                                                                                                \
    "SetLinkDNS 7 198.18.0.2\nSetLinkDomains 7 ~.\nSetLinkDefaultRoute 7 yes\nSetLinkDNSSEC 7 no\nSetLinkDNSOverTLS 7 no\n"                \
    "SetLinkLLMNR 7 no\nSetLinkMulticastDNS 7 no\n"

static void resolved_is_told(void **state)
{
    if (!bus)
        skip();
    assert_int_equal(resolved_point(7, &server, true), TOLD_NOBODY); /* the bus is there, resolved is not */
    start_fake("");
    assert_int_equal(resolved_point(7, &server, true), TOLD_NOW);
    assert_string_equal(file("/log"), ALL "FlushCaches\n");
    assert_int_equal(resolved_point(7, &server, false), TOLD_BEFORE); /* a look: nothing is set, nothing forgotten */
    assert_string_equal(file("/log"), ALL "FlushCaches\n");
    assert_int_equal(resolved_point(7, &server, true), TOLD_BEFORE); /* a reload: what it keeps may be over */
    assert_string_equal(file("/log"), ALL "FlushCaches\nFlushCaches\n");
    resolved_leave(7);
    assert_string_equal(file("/log"), ALL "FlushCaches\nFlushCaches\nRevertLink 7\nFlushCaches\n");
    assert_int_equal(resolved_point(7, &server, false), TOLD_NOW); /* somebody took it back */
    assert_string_equal(file("/log"), ALL "FlushCaches\nFlushCaches\nRevertLink 7\nFlushCaches\n" ALL "FlushCaches\n");
    end(&fake);
}

static void resolved_that_does_not_want(void **state)
{
    if (!bus)
        skip();
    start_fake("refuse");
    assert_int_equal(resolved_point(7, &server, true), TOLD_FAILED);
    end(&fake);
    start_fake("forget");
    assert_int_equal(resolved_point(7, &server, true), TOLD_FAILED);
    end(&fake);
    start_fake("deaf");
    assert_int_equal(resolved_point(7, &server, false), TOLD_FAILED);
    end(&fake);
}

static void no_bus(void **state)
{
    char *was = strdup(bus ? getenv("DBUS_SYSTEM_BUS_ADDRESS") : "");

    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", 1);
    assert_int_equal(resolved_point(7, &server, true), TOLD_NOBODY);
    resolved_leave(7);
    setenv("DBUS_SYSTEM_BUS_ADDRESS", was, 1);
    free(was);
}

/* ---- when ---- */

/* Until the child has done its work and been collected. */
static void turn_until_idle(struct osdns *o)
{
    for (int i = 0; i < 500; i++) {
        osdns_turn(o);
        if (!o->child && (!o->due_ms || o->due_ms > loop_clock()))
            return;
        usleep(10000);
    }
    fail_msg("the child does not end");
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

static void wipe(void)
{
    sd_bus *b = NULL;

    assert_true(sd_bus_open_system(&b) >= 0);
    assert_true(sd_bus_call_method(b, "org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager", "Wipe",
                                   NULL, NULL, "") >= 0);
    sd_bus_flush_close_unref(b);
}

static void told_again_when_it_forgot(void **state)
{
    struct osdns_want want = { .link = 7, .server = server, .redirected = true };
    struct osdns o;

    if (!bus)
        skip();
    start_fake("");
    osdns_init(&o, dir);
    osdns_begin(&o, &want);
    turn_until_idle(&o);
    assert_int_equal(count(file("/log"), "SetLinkDNS 7"), 1);
    assert_true(o.due_ms > loop_clock()); /* it will look again */
    wipe();
    o.due_ms = loop_clock();
    turn_until_idle(&o);
    assert_int_equal(count(file("/log"), "SetLinkDNS 7"), 2);
    assert_int_equal(o.due_ms, 0); /* from now on only when something happens */
    osdns_begin(&o, &want);        /* a reload */
    turn_until_idle(&o);
    assert_int_equal(count(file("/log"), "SetLinkDNS 7"), 2);
    osdns_end(&o);
    assert_int_equal(count(file("/log"), "RevertLink 7\nFlushCaches\n"), 1);
    osdns_end(&o); /* twice: nobody is told twice */
    assert_int_equal(count(file("/log"), "RevertLink 7"), 1);
    assert_int_equal(o.n_said, 1);
    end(&fake);
}

static void the_file_where_nobody_redirects(void **state)
{
    struct osdns_want want = { .link = 7, .server = server, .redirected = false };
    struct osdns o;

    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", 1);
    put_file("/etc/resolv.conf", "nameserver 127.0.0.1\n", 0644);
    osdns_init(&o, dir);
    osdns_begin(&o, &want);
    turn_until_idle(&o);
    assert_true(resolv_is_ours(dir));
    put_file("/etc/resolv.conf", "nameserver 127.0.0.2\n", 0644);
    assert_true(o.due_ms > loop_clock()); /* it is watched */
    o.due_ms = loop_clock();
    turn_until_idle(&o);
    assert_true(resolv_is_ours(dir));
    assert_true(o.due_ms > loop_clock());
    osdns_end(&o);
    assert_int_equal(resolv_leave(dir), 1);
    assert_string_equal(file("/etc/resolv.conf"), "nameserver 127.0.0.2\n");

    want.redirected = true; /* where the kernel does, the file is nobody's business */
    osdns_begin(&o, &want);
    turn_until_idle(&o);
    assert_false(resolv_is_ours(dir));
    osdns_end(&o);
}

static void nscd_forgets(void **state)
{
    struct osdns_want want = { .link = 7, .server = server, .redirected = true };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct osdns o;

    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", 1);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", in_dir("/run/nscd/socket"));
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 4), 0);
    osdns_init(&o, dir);
    osdns_begin(&o, &want);
    turn_until_idle(&o);
    osdns_end(&o);
    for (int i = 0; i < 2; i++) { /* at the start, at the end */
        int32_t head[3];
        char key[8] = "";

        assert_true((c = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0);
        assert_int_equal(read(c, head, sizeof(head)), sizeof(head));
        assert_int_equal(head[0], 2);
        assert_int_equal(head[1], 10);
        assert_int_equal(head[2], 6);
        assert_int_equal(read(c, key, sizeof(key)), 6);
        assert_string_equal(key, "hosts");
        close(c);
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    assert_int_equal(accept(fd, NULL, NULL), -1);
    close(fd);
    unlink(in_dir("/run/nscd/socket"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_and_back),
        cmocka_unit_test(options_without_trust),
        cmocka_unit_test(the_file_and_back),
        cmocka_unit_test(what_a_person_writes_stays),
        cmocka_unit_test(another_address_of_ours),
        cmocka_unit_test(files_that_are_left_alone),
        cmocka_unit_test(a_file_that_cannot_be_replaced),
        cmocka_unit_test(resolvconf_is_asked),
        cmocka_unit_test(resolved_is_told),
        cmocka_unit_test(resolved_that_does_not_want),
        cmocka_unit_test(told_again_when_it_forgot),
        cmocka_unit_test(no_bus),
        cmocka_unit_test(the_file_where_nobody_redirects),
        cmocka_unit_test(nscd_forgets),
    };
    int r;

    if (make_dir(NULL) < 0)
        return 1;
    if (!start_bus())
        fprintf(stderr, "no dbus-daemon: the tests of systemd-resolved are left out\n");
    r = cmocka_run_group_tests(tests, NULL, NULL);
    end(&bus);
    remove_dir(NULL);
    return r;
}
