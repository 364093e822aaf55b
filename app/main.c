/*
 * main.c - `shunt VERB`: the table of verbs, options, help, versions
 */
#include <ares.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <wchar.h>
#include <yaml.h>

#include "app/app.h"

#define ANY INT_MAX

/* options: f profile, d state directory, j json, s strict, c controller + secret, x explain's, l flows' */
static const struct verb verbs[] = {
    { "run", "run [-f PROFILE] [--local FILE] [-d DIR]", "carry the machine's traffic until SIGTERM; SIGHUP reads the profile again", "fd", 0, cmd_run },
    { "check", "check [-f PROFILE] [--local FILE] [--foreign] [--strict] [--json]", "judge a profile without touching anything", "fdjs", 1, cmd_check },
    { "explain", "explain [-f PROFILE] [--udp] [--src IP[:PORT]] [--process NAME] [--uid N] [--in TYPE] [--batch] [--json] TARGET...",
      "say what would happen to a flow, and why; TARGET = host[:port], ip[:port] or URL", "fdjcx", ANY, cmd_explain },
    { "mode", "mode [rule|global|direct] [--json]", "show or set the mode; new flows at once", "djc", 1, cmd_mode },
    { "groups", "groups [--json]", "list groups with their members, choice and delays", "djc", 0, cmd_groups },
    { "use", "use GROUP NODE", "choose a group's node", "djc", 2, cmd_use },
    { "delay", "delay [GROUP|NODE] [--json]", "test how long nodes take to answer; without a name all of them", "djc", 1, cmd_delay },
    { "flows", "flows [--follow] [--closed] [--json]", "live flows: target, rule, path, bytes", "djcl", 0, cmd_flows },
    { "dns", "dns NAME [TYPE] [--json] | dns flush [fakeip]", "what a program is told about a name, and by whom; or forget answers", "djc", 2, cmd_dns },
    { "provider", "provider [list | update [NAME...]] [--json]", "what is fetched for the profile: age, size, account; or fetch it now",
      "djc", ANY, cmd_provider },
    { "status", "status [--json]", "what runs, what was skipped, what is wrong", "djc", 0, cmd_status },
    { "reload", "reload [--json]", "read profile and local file again, and say what comes of it", "djc", 0, cmd_reload },
    { "cleanup", "cleanup [-d DIR]", "undo whatever a killed shunt left behind; safe at any time", "d", 0, cmd_cleanup },
    { "worker", NULL, NULL, "fd", 0, cmd_worker }, /* the second process; not for people */
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void help(FILE *to)
{
    fprintf(to, "usage: shunt VERB [options]\n\n");
    for (size_t i = 0; i < N_VERBS; i++)
        if (verbs[i].help)
            fprintf(to, "  %-9s %s\n", verbs[i].name, verbs[i].help);
    fprintf(to, "\n`shunt VERB --help` tells a verb's options. Default profile: " DEFAULT_PROFILE "\n");
}

static void verb_help(const struct verb *v, FILE *to)
{
    fprintf(to, "usage: shunt %s\n  %s\n\n", v->usage, v->help);
    if (strchr(v->options, 'f'))
        fprintf(to, "  -f PROFILE          the profile (- = standard input)%s\n", !strcmp(v->name, "explain") ? "; without it the running shunt is asked"
                                                                                                              : "; default " DEFAULT_PROFILE);
    if (strchr(v->options, 'f'))
        fprintf(to, "  --local FILE        your own settings, laid over the profile; default " DEFAULT_LOCAL " if it is there\n"
                    "  --foreign           the profile is not your own: what a stranger may not set is ignored\n");
    if (strchr(v->options, 'd'))
        fprintf(to, "  -d DIR              the state directory; default /var/lib/shunt\n");
    if (strchr(v->options, 'c'))
        fprintf(to, "  --controller URL    ask that shunt instead of the one of the state directory\n  --secret SECRET     its secret\n");
    if (strchr(v->options, 'j'))
        fprintf(to, "  --json              JSON for programs\n");
    if (strchr(v->options, 's'))
        fprintf(to, "  --strict            whatever would be skipped is an error\n");
    if (strchr(v->options, 'l'))
        fprintf(to, "  --follow            again every second\n  --closed            those that have ended, too (the newest 256)\n");
    if (strchr(v->options, 'x'))
        fprintf(to, "  --udp               a UDP flow; else TCP\n"
                    "  --src IP[:PORT]     where it comes from\n"
                    "  --process NAME      the program it belongs to\n"
                    "  --uid N             the user it belongs to\n"
                    "  --in TYPE           how it came in: tun, mixed, socks5, ...\n"
                    "  --batch             one flow a line from standard input: tcp|udp HOST PORT [src=IP[:PORT]] [process=NAME] [path=PATH]\n"
                    "                      [uid=N] [in=TYPE] [ip=ADDRESS OF THE NAME]; answers are JSON, one a line\n");
}

static void version(void)
{
    int major, minor, patch;

    yaml_get_version(&major, &minor, &patch);
    printf("shunt %s\nlwIP %s, %s, c-ares %s, libyaml %d.%d.%d, libuv %s\n"
           "features: tun tso uso ipv6 fake-ip ss ss-2022 trojan vmess vless http socks5 tls ws h2 grpc\n",
           SHUNT_VERSION, SHUNT_LWIP_VERSION, OpenSSL_version(OPENSSL_VERSION), ares_version(NULL), major, minor, patch, uv_version_string());
}

bool coloured(int fd)
{
    const char *no = getenv("NO_COLOR");

    return isatty(fd) && (!no || !*no);
}

const char *human_bytes(double n, char buf[16])
{
    static const char unit[] = "BKMGTP";
    unsigned u = 0;

    while (n >= 1000 && u + 2 < sizeof(unit))
        n /= 1024, u++;
    snprintf(buf, 16, u && n < 100 ? "%.1f%c" : "%.0f%c", n, unit[u]);
    return buf;
}

/* Bytes and columns of the next character; control bytes count as one column. */
static size_t next_char(const char *s, int *columns)
{
    wchar_t w;
    mbstate_t st = { 0 };
    size_t n = mbrtowc(&w, s, strlen(s), &st);

    if (n == 0 || n > 8) {
        *columns = 1;
        return *s ? 1 : 0;
    }
    *columns = wcwidth(w) < 0 ? 1 : wcwidth(w);
    return n;
}

void print_cell(const char *s, int width)
{
    int used = 0, c;

    for (size_t n; (n = next_char(s, &c)) && used + c <= width; s += n, used += c)
        if ((unsigned char)*s < ' ' || *s == 127)
            putchar('?');
        else
            fwrite(s, 1, n, stdout);
    printf("%*s", width - used, "");
}

static int wrong(const struct verb *v, const char *what)
{
    fprintf(stderr, "shunt: %s\nusage: shunt %s\n", what, v->usage ? v->usage : v->name);
    return EXIT_USAGE;
}

enum { O_JSON = 256, O_STRICT, O_CONTROLLER, O_SECRET, O_UDP, O_SRC, O_PROCESS, O_UID, O_IN, O_BATCH, O_FOLLOW, O_CLOSED, O_LOCAL, O_FOREIGN };

static const struct option words[] = {
    { "help", no_argument, NULL, 'h' },          { "json", no_argument, NULL, O_JSON },
    { "strict", no_argument, NULL, O_STRICT },   { "controller", required_argument, NULL, O_CONTROLLER },
    { "secret", required_argument, NULL, O_SECRET }, { "udp", no_argument, NULL, O_UDP },
    { "src", required_argument, NULL, O_SRC },   { "process", required_argument, NULL, O_PROCESS },
    { "uid", required_argument, NULL, O_UID },   { "in", required_argument, NULL, O_IN },
    { "batch", no_argument, NULL, O_BATCH },     { "follow", no_argument, NULL, O_FOLLOW },
    { "closed", no_argument, NULL, O_CLOSED },   { "local", required_argument, NULL, O_LOCAL },
    { "foreign", no_argument, NULL, O_FOREIGN }, { NULL, 0, NULL, 0 },
};

/* Which letter of a verb's `options` admits this option. */
static char group_of(int c)
{
    switch (c) {
    case 'f':
    case O_LOCAL:
    case O_FOREIGN: return 'f';
    case 'd': return 'd';
    case O_JSON: return 'j';
    case O_STRICT: return 's';
    case O_CONTROLLER:
    case O_SECRET: return 'c';
    case O_FOLLOW:
    case O_CLOSED: return 'l';
    default: return 'x';
    }
}

static bool parse_uid(const char *s, long long *out)
{
    char *end;

    *out = strtoll(s, &end, 10);
    return *s >= '0' && *s <= '9' && !*end && *out <= UINT32_MAX;
}

/* -1: go on; else the exit status. */
static int parse(const struct verb *v, int argc, char **argv, struct options *o)
{
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "f:d:h", words, NULL)) != -1) {
        if (c == 'h') {
            if (v->help)
                verb_help(v, stdout);
            return EXIT_DONE;
        }
        if (c == '?')
            return wrong(v, "unknown option, or an option without its value");
        if (!strchr(v->options, group_of(c)))
            return wrong(v, "this verb does not take that option");
        switch (c) {
        case 'f': o->profile = optarg; break;
        case 'd': o->state_dir = optarg; break;
        case O_JSON: o->json = true; break;
        case O_STRICT: o->strict = true; break;
        case O_CONTROLLER: o->controller = optarg; break;
        case O_SECRET: o->secret = optarg; break;
        case O_UDP: o->udp = true; break;
        case O_SRC: o->src = optarg; break;
        case O_PROCESS: o->process = optarg; break;
        case O_IN: o->in = optarg; break;
        case O_BATCH: o->batch = true; break;
        case O_FOLLOW: o->follow = true; break;
        case O_CLOSED: o->closed = true; break;
        case O_LOCAL: o->local = optarg; break;
        case O_FOREIGN: o->foreign = true; break;
        case O_UID:
            if (!parse_uid(optarg, &o->uid))
                return wrong(v, "--uid takes a number");
            break;
        default: break;
        }
    }
    o->argc = argc - optind;
    o->argv = argv + optind;
    if (o->argc > v->max)
        return wrong(v, v->max ? "too many arguments" : "this verb takes no arguments");
    return -1;
}

static const char *default_state_dir(void)
{
    static char dir[PATH_MAX];
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (geteuid() == 0)
        return "/var/lib/shunt";
    if (xdg && *xdg == '/')
        snprintf(dir, sizeof(dir), "%s/shunt", xdg);
    else
        snprintf(dir, sizeof(dir), "%s/.local/state/shunt", home ? home : "");
    return dir;
}

int main(int argc, char **argv)
{
    struct options o = { .uid = -1 };
    int r;

    setlocale(LC_CTYPE, "");
    if (!strcmp(MB_CUR_MAX > 1 ? "" : "C", "C"))
        setlocale(LC_CTYPE, "C.UTF-8");
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        return EXIT_DONE;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        version();
        return EXIT_DONE;
    }
    o.state_dir = default_state_dir();
    for (size_t i = 0; i < N_VERBS; i++) {
        if (strcmp(verbs[i].name, argv[1]) != 0)
            continue;
        o.verb = verbs[i].name;
        r = parse(&verbs[i], argc - 1, argv + 1, &o);
        return r >= 0 ? r : verbs[i].run(&o);
    }
    fprintf(stderr, "shunt: unknown verb \"%s\"\n", argv[1]);
    help(stderr);
    return EXIT_USAGE;
}
