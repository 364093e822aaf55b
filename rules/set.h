/*
 * set.h - what the file of a rule provider says, entry by entry
 *
 * Three behaviours (what the entries are) times three formats (how they are written); clash-profile section 12, rules section 3. Reading
 * is pure: bytes in, one call of the visitor per entry, nothing kept. One broken line costs one entry. An entry that belongs to another
 * behaviour (`DOMAIN-SUFFIX,x` in a domain set, `+.x` in a classical one) is recognised by its shape, given to the visitor as what it
 * is, and counted, so that the caller can say so once per set.
 */
#ifndef RULES_SET_H
#define RULES_SET_H

#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"

enum set_behavior { SET_DOMAIN, SET_IPCIDR, SET_CLASSICAL };
enum set_format { SET_YAML, SET_TEXT, SET_MRS };

/* Receives the entries, in file order. All text is lent for the call and not NUL-terminated. A callback returns 0; or SET_BAD, the entry is
 * of no use (an unknown rule type) and counted as bad; or a negative code that ends the reading and becomes its result. A callback may be
 * NULL: its entries are bad. */
#define SET_BAD 1
struct set_visitor {
    void *arg;
    /* A domain pattern (clash-profile section 2.2), checked and in lower case. */
    int (*domain)(void *arg, const char *pattern, size_t len);
    /* A piece of a name, lower case. */
    int (*keyword)(void *arg, const char *s, size_t len);
    /* A regular expression over names, as written. */
    int (*regex)(void *arg, const char *s, size_t len);
    /* Addresses; ranges are already split into prefixes. */
    int (*prefix)(void *arg, const struct cidr *c);
    /* A rule without target, as written: every line of a classical set that has a comma; elsewhere, one whose type says more than a
     * domain pattern, keyword, regex or prefix can. line counts from 1; 0 when the source has no lines. */
    int (*rule)(void *arg, const char *text, size_t len, uint32_t line);
};

struct set_example {
    uint32_t line;
    char text[80];   /* the start of the entry, NUL-terminated; foreign bytes: print through log_safe() */
    const char *why; /* static: what was expected or done; NULL = there is none */
};

struct set_stats {
    uint32_t entries;   /* given to the visitor; prefixes of one range count as one */
    uint32_t bad;       /* skipped */
    uint32_t misplaced; /* used (in entries too), yet written for another behaviour */
    struct set_example first_bad, first_misplaced;
    const char *error; /* static: why set_read() returned -EBADMSG or -ERR_LIMIT */
};

/* Reads a whole file. st is zeroed first. 0, or -EBADMSG (not this format, or a broken mrs: st->error says what; entries before the fault
 * have been visited), -ENOMEM, -ERR_LIMIT (mrs above 256 MiB unpacked or 32 Mi nodes), or the visitor's code. A file with lines of which
 * none is usable is -EBADMSG; an empty one is 0 with no entries. */
int set_read(const void *bytes, size_t len, enum set_behavior b, enum set_format f, const struct set_visitor *v, struct set_stats *st);

/* One entry as a text file has it in one line (an inline payload of the profile). st is added to, zeroed by the caller. 0 or the
 * visitor's code; a bad entry is counted, not an error. */
int set_entry(const char *s, size_t len, uint32_t line, enum set_behavior b, const struct set_visitor *v, struct set_stats *st);

/* Words of a profile ("domain", "ipcidr", "classical"; "yaml", "text", "mrs"), by enum, NULL-terminated. */
extern const char *const set_behavior_names[], *const set_format_names[];

#endif
