/*
 * geo.h - the public databases of names and addresses: geosite.dat, geoip.dat, MaxMind DB
 *
 * Each reader finds the wanted lists in the bytes of a file and gives their entries to a visitor (set.h). Pure. Formats: rules section 3.
 * Nothing here blocks a start: a missing or broken file is an error code, and what to do about it is the caller's business.
 */
#ifndef RULES_GEO_H
#define RULES_GEO_H

#include "rules/set.h"

/* The entries of a category of geosite.dat: "cat" or "cat@attr@attr2" (entries that carry all attributes; letter case is ignored; "!" may
 * begin an attribute's name and means nothing more). Visits domain, keyword and regex. Returns 0; -ENOENT: no such category; -EBADMSG: not
 * such a file, or broken before or inside the category. st is zeroed first and may be NULL. */
int geosite_read(const void *bytes, size_t len, const char *want, const struct set_visitor *v, struct set_stats *st);

/* The prefixes of a code of geoip.dat ("cn", letter case ignored). Returns as geosite_read(). */
int geoip_dat_read(const void *bytes, size_t len, const char *code, const struct set_visitor *v, struct set_stats *st);

/* One wish on a MaxMind DB. */
struct geo_want {
    const char *code;     /* a country code or list name ("cn", letter case ignored), or an AS number ("13335") */
    struct set_visitor v; /* only prefix is called */
    uint64_t n_prefixes;  /* out; 0 = nothing in the file has this code */
};
enum geo_kind { GEO_CODE, GEO_ASN };

/* Walks a MaxMind DB once and visits, for each wish, the prefixes with that code: IPv4 ones as IPv4, each network once (the aliases of
 * IPv4 inside an IPv6 tree are left out). GEO_CODE reads country.iso_code, a bare string, or an array of strings; GEO_ASN reads
 * autonomous_system_number or "asn". Returns 0, -EBADMSG (not such a file, or broken: some may have been visited), or a visitor's code. */
int geo_mmdb_read(const void *bytes, size_t len, enum geo_kind kind, struct geo_want *want, size_t n);

#endif
