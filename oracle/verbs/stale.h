/* SPDX-License-Identifier: MIT */
/*
 * stale.h - the same transfers twice: with registrations that are kept, as a program does that
 * knows nothing of all this, and with hmmu_verbs_get().
 *
 *	side.c	  where keys come from
 *	cases.c	  one transfer, a remap, the same transfer again
 *	storm.c	  another thread remaps all the time
 *	facts.c	  what docs/verbs.md says about libibverbs and the kernel
 *
 * Each line that is printed is judged: kept registrations must show the wrong bytes (or
 * nothing was proved), hmmu's the right ones.
 */
#ifndef HMMU_ORACLE_VERBS_STALE_H
#define HMMU_ORACLE_VERBS_STALE_H

#include <stdint.h>
#include <sys/mman.h>

#include <hmmu/verbs.h>

#include "pair.h"

#define PAGE 4096u
#define RW (PROT_READ | PROT_WRITE)
#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)
#define KEPT 8

struct side {
	const char *name;
	struct pair *pair;
	struct hmmu_verbs *v; /* NULL: registrations are kept */
	struct ibv_mr *kept[KEPT];
};

/* The keys of one page, until it is put. */
struct keys {
	struct hmmu_region_ref ref;
	uint32_t lkey;
	uint32_t rkey;
};

void need(bool ok, const char *what); /* or the program ends, with errno's text */
void side_open(struct side *s, struct pair *pair, bool protect);
void side_close(struct side *s);
void side_get(struct side *s, const void *page, struct keys *keys);
/* Was it still what the process saw? Kept ones always say so. */
bool side_put(struct side *s, struct keys *keys);
/* A page filled with @word appears at @page at one stroke; NULL: anywhere. */
uint64_t *fresh(void *page, uint64_t word);
/* The word that the whole page is filled with; the program ends if it is not. */
uint64_t word_of(const uint64_t *page);
/* One transfer of a page, which must succeed. */
void transfer(struct side *s, enum ibv_wr_opcode opcode, void *local, uint32_t lkey,
	      void *remote, uint32_t rkey);

/* A line of the table, and whether it is as it has to be. */
void judge(bool right, const char *format, ...) __attribute__((format(printf, 2, 3)));

void cases(struct side *kept, struct side *safe);
void storm(struct side *kept, struct side *safe);
void facts(struct pair *pair, struct side *safe);

#endif /* HMMU_ORACLE_VERBS_STALE_H */
