// SPDX-License-Identifier: MIT
/* copies.c - see copies.h. */
#include "source/hooks/copies.h"

#include <errno.h>
#include <sys/mman.h>

#include "arch/patch.h"
#include "arch/syscall.h"
#include "atomic.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"

const struct hmmu_copy_follower *hmmu_copies[HMMU_COPIES_MAX];
uint32_t hmmu_copies_n;
const struct hmmu_copy_leader *hmmu_copies_leader;

/* The self-test: this thread was bracketed for by a leader. */
static __thread uint32_t served __attribute__((tls_model("initial-exec")));

/* ---- the leader ------------------------------------------------------- */

static unsigned int hooked(const char *name)
{
	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		const struct hmmu_hook_info *info = &hmmu_hook_info[i];
		const char *a = info->name, *b = name;

		while (*a && *a == *b) {
			a++;
			b++;
		}
		if (*a == *b)
			return (unsigned int)info->state |
			       (info->within ? HMMU_COPY_WITHIN : 0);
	}
	return HMMU_HOOK_NONE;
}

static const struct hmmu_copy_leader as_leader = {
	.version = HMMU_COPY_VERSION,
	.follow = hmmu_copies_serve,
	.hooked = hooked,
	.intact = hmmu_hooks_intact,
};

void hmmu_copies_header(struct hmmu_copy_header *header)
{
	header->magic = HMMU_COPY_MAGIC;
	header->version = HMMU_COPY_VERSION;
	header->leader = &as_leader;
}

/* ---- the follower ----------------------------------------------------- */

/* The rest of a change, in the words of this copy. */
HMMU_HOOK static long run_next(const struct hmmu_change *c)
{
	long (*next)(void *) = (long (*)(void *))c->arg[0];

	return next((void *)c->arg[1]);
}

HMMU_HOOK static long around(unsigned int event, unsigned long start, unsigned long end,
			     long (*next)(void *arg), void *arg)
{
	struct hmmu_change c;

	served++;
	hmmu_change(&c, HMMU_HOOK_NR, 0, next, arg);
	c.bare = run_next;
	hmmu_change_add(&c, (enum mmu_notifier_event)event, start, end);
	return hmmu_hook_make(&c);
}

/* The self-test does not watch yet, and wants to see its own change. */
static uint32_t probing;

HMMU_HOOK static bool watched(void)
{
	return hmmu_load_relaxed(&probing) || hmmu_hook_watched();
}

static const struct hmmu_copy_follower as_follower = {
	.version = HMMU_COPY_VERSION,
	.watched = watched,
	.around = around,
	.handed_out = hmmu_hook_handed_out,
};

/* The first jump rel32 in the entry's straight line; NULL: none. */
HMMU_HOOK static const uint8_t *jump_in(const uint8_t *entry)
{
#if HMMU_ARCH_PATCHES
	for (unsigned int at = 0; at + 16 <= HMMU_PATCH_WALK;) {
		unsigned int len = hmmu_insn_decode(entry + at).len;

		if (entry[at] == 0xe9)
			return hmmu_patch_target(entry + at);
		if (!len)
			break;
		at += len;
	}
#endif
	return NULL;
}

/* Code that nobody has mapped readable is not looked into. */
HMMU_HOOK static bool readable(unsigned long page)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	bool yes = false;

	if (!hmmu_maps_open(&maps))
		return false;
	while (!yes && hmmu_maps_next(&maps, &m))
		yes = page >= m.start && page < m.end && (m.prot & PROT_READ);
	hmmu_maps_close(&maps);
	return yes;
}

/* NULL: it is nobody's, or ours. */
HMMU_HOOK static const struct hmmu_copy_header *header_of(const void *target)
{
	unsigned long page = (unsigned long)target & -HMMU_PAGE;
	const struct hmmu_copy_header *header = (const struct hmmu_copy_header *)page;

	if (!page || !readable(page) || header->magic != HMMU_COPY_MAGIC)
		return NULL;
	return header->leader == &as_leader ? NULL : header;
}

HMMU_HOOK bool hmmu_copies_other(const void *target)
{
	return header_of(target) != NULL;
}

HMMU_HOOK int hmmu_copies_find(const void *entry, const struct hmmu_copy_leader **leader)
{
	const struct hmmu_copy_header *header = header_of(entry ? jump_in(entry) : NULL);

	*leader = NULL;
	if (!header)
		return 0;
	if (header->version != HMMU_COPY_VERSION && !HMMU_HOOK_PLANTED(ANY_VERSION))
		return -EEXIST;
	*leader = header->leader;
	return 0;
}

/* Is a change that this thread makes bracketed for us, once? */
static bool is_served(void)
{
	long page = hmmu_syscall(SYS_mmap, NULL, HMMU_PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int (*munmap_)(void *, size_t) =
		(int (*)(void *, size_t))(hmmu_hook_info[HMMU_HOOK_MUNMAP].entry);
	uint32_t before = served;

	if (hmmu_is_err(page))
		return false;
	hmmu_store_relaxed(&probing, 1);
	munmap_((void *)page, HMMU_PAGE);
	hmmu_store_relaxed(&probing, 0);
	return served - before == 1;
}

int hmmu_copies_follow(const struct hmmu_copy_leader *leader)
{
	int err;

	hmmu_chain_pin(leader);
	hmmu_chain_pin(&as_follower);
	err = leader->follow(&as_follower);
	if (err)
		return err;
	hmmu_copies_leader = leader;
	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		struct hmmu_hook_info *info = &hmmu_hook_info[i];
		unsigned int state = leader->hooked(info->name);

		info->state = (enum hmmu_hook_state)(state & ~HMMU_COPY_WITHIN);
		info->within = state & HMMU_COPY_WITHIN;
		info->why = info->state ? NULL : "the first copy of this library has it not";
		hmmu_store_relaxed(&hmmu_interpose_to[i], info->entry);
	}
	return is_served() ? 0 : -EOPNOTSUPP;
}
