/*
 * sniffer.h - when a flow's first bytes are looked at for a name, and what the name is good for (clash-profile section 8)
 */
#ifndef ENGINE_SNIFFER_H
#define ENGINE_SNIFFER_H

#include "core/stream.h"
#include "engine/sniff.h"
#include "rules/rules.h"

struct sniffer;

enum { SNIFF_HTTP = 1u << CFG_SNIFF_HTTP, SNIFF_TLS = 1u << CFG_SNIFF_TLS, SNIFF_QUIC = 1u << CFG_SNIFF_QUIC };
#define SNIFF_WAIT_MS 300 /* at most, and only on ports that are listed */

/* From the profile's section; env: what "geosite:" and "rule-set:" in its lists refer to. *out is NULL when nothing is to be looked at.
 * Elements that are of no use are skipped with a warning. 0 or -ENOMEM. Immutable. */
int sniffer_new(const struct cfg_sniffer *c, const struct rules_env *env, struct diag *d, struct sniffer **out);
void sniffer_free(struct sniffer *s);

/* Which protocols a flow may speak that are to be looked for: SNIFF_..., 0 = none. s may be NULL. */
unsigned sniffer_wants(const struct sniffer *s, const struct flow_meta *m);
/* Is this name to be used? */
bool sniffer_takes(const struct sniffer *s, const char *host);
/* Does a name found by this protocol become the destination, or is it for the rules only? */
bool sniffer_overrides(const struct sniffer *s, unsigned protocol);

/* Looks at what a stream lends. *protocols: those still possible; with SNIFF_NAME the one that said the name. *seen: bytes there were. A
 * stream that only knows read has nothing to look at. */
enum sniff sniffer_look(struct stream *s, unsigned *protocols, char host[HOST_MAX + 1], size_t *seen);

/* ---- destinations where nothing is ever found ---- */

#define SNIFF_BARREN 128
struct barren {
    struct {
        uint64_t hash, until_ms;
        unsigned n;
    } at[SNIFF_BARREN];
};
/* Has looking there failed more than five times, the last less than ten minutes ago? */
bool barren_is(const struct barren *b, const struct endpoint *dst, uint64_t now_ms);
void barren_note(struct barren *b, const struct endpoint *dst, bool found, uint64_t now_ms);

#endif
