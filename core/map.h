/*
 * map.h - intrusive hash map
 *
 * Chained; grows by doubling; the node is a member of the stored object; the caller gives the 64-bit hash (hash.h) and compares on its
 * own. Growing that finds no memory keeps the old size and stays correct.
 */
#ifndef CORE_MAP_H
#define CORE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_node { struct map_node *next; uint64_t hash; };
struct map { struct map_node **slot; uint32_t mask, n; };

/* 0 or -ENOMEM. */
int map_init(struct map *m, uint32_t want);
void map_fini(struct map *m);
void map_add(struct map *m, struct map_node *n, uint64_t hash);
void map_del(struct map *m, struct map_node *n);
/* First node with that hash, then the next one with the same hash, or NULL: compare keys yourself. */
struct map_node *map_first(const struct map *m, uint64_t hash);
struct map_node *map_next(const struct map_node *n);

#endif
