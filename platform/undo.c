/*
 * undo.c - the journal of changes, and taking them back
 *
 *   device shunt0          every line was on the disk before the change it names was made, so a torn last line names nothing that happened
 *   rules 9000 9010
 *   table 2022
 *   nft shunt_guard
 *
 * The journal says where to look; what is ours is said by the kernel's own objects: protocol number of rules and routes, alias of the device, names of the nft
 * tables. So exactly what is still ours is removed, nothing that somebody else put in its place, and without a journal (lost, or from another machine) the same
 * things are found by their marks. DNS sockets, device and redirect need no undo of their own: they go with the process that holds them.
 *
 * The state directory belongs to the worker, whom we do not trust: only a journal that root wrote is read, and it is read as foreign bytes.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/sys.h"

#define JOURNAL_MAX 65536
#define ENTRIES_MAX 256

static const struct undo_word {
    const char *word;
    int n_numbers; /* how many follow; 0: a name does */
} words[] = {
    [UNDO_DEVICE] = { "device", 0 },
    [UNDO_RULES] = { "rules", 2 },
    [UNDO_TABLE] = { "table", 1 },
    [UNDO_NFT] = { "nft", 0 },
    [UNDO_RESOLVCONF] = { "resolvconf", 0 },
};
static_assert(sizeof(words) / sizeof(words[0]) == UNDO_N_KINDS, "a word for every kind");

static bool path(const char *state_dir, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/journal", state_dir) < PATH_MAX;
}

/* ---- writing ---- */

static void sync_dir(const char *state_dir)
{
    int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

int undo_open(const char *state_dir)
{
    char file[PATH_MAX];
    int fd;

    if (!path(state_dir, file))
        return -ENAMETOOLONG;
    unlink(file);
    if ((fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return -errno;
    sync_dir(state_dir);
    return fd;
}

static size_t write_line(const struct undo_entry *e, char *out, size_t room)
{
    const struct undo_word *w = &words[e->kind];
    int n;

    if (w->n_numbers == 0)
        n = snprintf(out, room, "%s %.15s\n", w->word, e->name);
    else if (w->n_numbers == 1)
        n = snprintf(out, room, "%s %u\n", w->word, e->from);
    else
        n = snprintf(out, room, "%s %u %u\n", w->word, e->from, e->to);
    return n > 0 && (size_t)n < room ? (size_t)n : 0;
}

int undo_note(int journal, const struct undo_entry *e, int n)
{
    char text[1024];
    size_t len = 0;
    ssize_t put;

    for (int i = 0; i < n; i++)
        len += write_line(&e[i], text + len, sizeof(text) - len);
    put = write(journal, text, len);
    if (put < 0 || fdatasync(journal) < 0)
        return -errno;
    return (size_t)put == len ? 0 : -ENOSPC;
}

void undo_close(const char *state_dir, int journal)
{
    char file[PATH_MAX];

    if (path(state_dir, file))
        unlink(file);
    if (journal >= 0)
        close(journal);
}

/* ---- reading ---- */

static bool parse_name(const char *p, size_t len, char name[16])
{
    if (!len || len > 15)
        return false;
    for (size_t i = 0; i < len; i++)
        if (p[i] <= ' ' || p[i] > '~' || p[i] == '/')
            return false;
    memcpy(name, p, len);
    name[len] = 0;
    return true;
}

/* A decimal number that ends at the end or at a blank, which is passed. */
static bool parse_number(const char **p, const char *end, uint32_t *out)
{
    uint64_t v = 0;
    const char *from = *p;

    for (; *p < end && **p >= '0' && **p <= '9' && v <= UINT32_MAX; ++*p)
        v = v * 10 + (uint64_t)(**p - '0');
    if (*p == from || v > UINT32_MAX || (*p < end && **p != ' '))
        return false;
    if (*p < end)
        ++*p;
    *out = (uint32_t)v;
    return true;
}

static bool parse_line(const char *p, const char *end, struct undo_entry *e)
{
    const char *blank = memchr(p, ' ', (size_t)(end - p));

    if (!blank)
        return false;
    memset(e, 0, sizeof(*e));
    for (int k = 0; k < UNDO_N_KINDS; k++) {
        if (strlen(words[k].word) != (size_t)(blank - p) || memcmp(words[k].word, p, (size_t)(blank - p)) != 0)
            continue;
        e->kind = (enum undo_kind)k;
        p = blank + 1;
        if (!words[k].n_numbers)
            return parse_name(p, (size_t)(end - p), e->name);
        return parse_number(&p, end, &e->from) && (words[k].n_numbers < 2 || parse_number(&p, end, &e->to)) && p == end;
    }
    return false;
}

int undo_parse(const char *text, size_t len, struct undo_entry *out, int max)
{
    const char *end = text + len, *nl;
    int n = 0;

    for (const char *p = text; n < max && (nl = memchr(p, '\n', (size_t)(end - p))); p = nl + 1)
        n += parse_line(p, nl, &out[n]);
    return n;
}

static int read_journal(const char *state_dir, struct undo_entry *out, int max)
{
    char file[PATH_MAX], *text;
    struct stat st;
    ssize_t len = 0;
    int fd, n = 0;

    if (!path(state_dir, file) || (fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) < 0)
        return 0;
    text = malloc(JOURNAL_MAX);
    if (text && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid())
        len = read(fd, text, JOURNAL_MAX);
    if (len > 0)
        n = undo_parse(text, (size_t)len, out, max);
    free(text);
    close(fd);
    return n;
}

/* ---- taking back ---- */

struct taking {
    struct nl *nl;
    bool keep_guard, verbose;
    unsigned gone;
};

static void tell(struct taking *t, unsigned n, const char *what, const char *name)
{
    t->gone += n;
    if (n && t->verbose)
        printf("removed %u %s %s\n", n, what, name);
}

static void take_nft(struct taking *t, const char *table)
{
    bool guard = !strcmp(table, GUARD_NAME);

    if ((guard && !t->keep_guard) || !strcmp(table, TABLE_NAME))
        tell(t, nft_remove(table), "nft table", table);
}

static void take(struct taking *t, const struct undo_entry *e)
{
    char text[32];

    switch (e->kind) {
    case UNDO_DEVICE: tell(t, nl_remove_device(t->nl, e->name), "device", e->name); break;
    case UNDO_RULES:
        snprintf(text, sizeof(text), "from %u", e->from);
        tell(t, nl_remove_rules(t->nl, e->from, e->to), "policy rules", text);
        break;
    case UNDO_TABLE:
        snprintf(text, sizeof(text), "%u", e->from);
        tell(t, e->from ? nl_remove_routes(t->nl, e->from) : 0, "routes of table", text);
        break;
    case UNDO_NFT: take_nft(t, e->name); break;
    case UNDO_RESOLVCONF: tell(t, !strcmp(e->name, RESOLVCONF_NAME) && resolvconf_leave("") == 0, "resolvconf entry", e->name); break;
    case UNDO_N_KINDS: break;
    }
}

unsigned undo_all(const char *state_dir, bool keep_guard, bool verbose)
{
    struct taking t = { .nl = nl_open(), .keep_guard = keep_guard, .verbose = verbose };
    struct undo_entry *e = calloc(ENTRIES_MAX, sizeof(*e));
    int n = e ? read_journal(state_dir, e, ENTRIES_MAX) : 0;

    if (t.nl) {
        while (n)
            take(&t, &e[--n]);
        tell(&t, nl_remove_rules(t.nl, 0, UINT32_MAX), "policy rules", "by their mark"); /* what no journal told of */
        tell(&t, nl_remove_routes(t.nl, 0), "routes", "by their mark");
    }
    take_nft(&t, TABLE_NAME);
    take_nft(&t, GUARD_NAME);
    if (resolv_leave("") > 0 && ++t.gone && verbose)
        printf("restored /etc/resolv.conf\n");
    nl_close(t.nl);
    free(e);
    undo_close(state_dir, -1);
    return t.gone;
}
