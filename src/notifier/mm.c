// SPDX-License-Identifier: MIT
/*
 * mm.c - address spaces are opened and closed, their lock, and watching that is lost.
 *
 * A struct mm_struct is one mapping that is never unmapped: a hook that has read its
 * address may use it whenever it likes; one that was closed is reused by the next open,
 * with whatever invalidations are still open in its slots. A forked child finds it
 * zeroed.
 */
#include <errno.h>
#include <sys/mman.h>

#include "../arch/syscall.h"
#include "../export.h"
#include "../instance.h"
#include "../reclaim/reclaim.h"
#include "notifier.h"
#include "../source/source.h"
#include "pool.h"

#define SOURCES_KNOWN \
	(HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD | HMMU_SOURCE_SECCOMP | HMMU_SOURCE_BEST)
#define SOURCES_BEST (HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD)
#define FLAGS_KNOWN (HMMU_MM_OWN_RECLAIM | HMMU_MM_PROBE_ACCESS)

void hmmu_mm_tell_lost(struct mm_struct *mm)
{
	struct mmu_notifier_range range;

	/* Pairs with the loads of epoch in read.c. */
	hmmu_add_seqcst(&mm->epoch, EPOCH_STEP);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 0, ~0UL);
	range.phase = HMMU_PHASE_LOST;
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
}

/* Without a lock. Readers wait until this is done: only then is what the callbacks left
 * in the shadows good again. */
void hmmu_mm_deliver_lost(struct mm_struct *mm)
{
	uint64_t owed = hmmu_xchg_seqcst(&mm->lost_pending, 0);

	if (!owed)
		return;
	hmmu_mm_tell_lost(mm);
	/* Pairs with the loads of epoch in read.c. */
	hmmu_add_seqcst(&mm->epoch, owed * EPOCH_CLEAR);
	hmmu_event_signal(mm);
}

/* ---- open ------------------------------------------------------------- */

/* With the instance's lock. */
struct mm_struct *hmmu_mm_get(struct hmmu_instance *inst)
{
	struct mm_struct *mm = inst->free;

	if (mm) {
		inst->free = mm->next_free;
		return mm;
	}
	mm = hmmu_map(sizeof(*mm), true);
	if (!mm)
		return NULL;
	mm->epoch = EPOCH_BASE; /* plain: nobody knows it yet */
	mm->next_id = 1;
	mm->seq_floor = 1;
	mm->no_membarrier = !hmmu_membarrier_register();
	return mm;
}

static void mm_put(struct hmmu_instance *inst, struct mm_struct *mm)
{
	mm->next_free = inst->free;
	inst->free = mm;
}

static int check_options(const struct hmmu_mm_options *o)
{
	static const unsigned int none[5];

	if (o->size != sizeof(*o) || (o->sources & ~SOURCES_KNOWN) ||
	    (o->flags & ~FLAGS_KNOWN) || o->require > HMMU_BRACKETED)
		return -EINVAL;
	/* BEST chooses by itself. */
	if ((o->sources & HMMU_SOURCE_BEST) && o->sources != HMMU_SOURCE_BEST)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		if (o->reserved[i])
			return -EINVAL;
	}
	return 0;
}

/* Every operation through libc, from outside and from inside. Of a truncation no source
 * can tell a mapping that is made meanwhile before: more would refuse everybody. */
static bool meets(const struct mm_struct *mm, unsigned int require)
{
	for (unsigned int op = 0; op < HMMU_OP_NR; op++) {
		bool truncates = op == HMMU_OP_FTRUNCATE || op == HMMU_OP_FALLOCATE;
		unsigned int least =
			truncates && require > HMMU_BY_RETURN ? HMMU_BY_RETURN : require;

		if (hmmu_coverage(mm, op, HMMU_CALLER_LIBC).exactness < least ||
		    hmmu_coverage(mm, op, HMMU_CALLER_LIBC_INTERNAL).exactness < least)
			return false;
	}
	return true;
}

/* What bracketing sources leave to the net is asked for where an address is handed out,
 * by them; alone it must be asked at each access. */
static void use_net(struct mm_struct *mm)
{
	if (!(mm->sources & HMMU_SOURCE_USERFAULTFD))
		return;
	mm->net = &hmmu_source_userfaultfd;
	if (mm->sources == HMMU_SOURCE_USERFAULTFD || (mm->mm_flags & HMMU_MM_PROBE_ACCESS))
		hmmu_or_seqcst(&mm->epoch, EPOCH_PROBE);
}

static void close_sources(unsigned int which)
{
	for (unsigned int i = 0; i < HMMU_SOURCES; i++) {
		if ((hmmu_sources[i]->bit & which) && hmmu_sources[i]->close)
			hmmu_sources[i]->close();
	}
}

/* Fills in mm->sources. @named: all of them have to work. */
static int try_sources(struct mm_struct *mm, unsigned int which, bool named)
{
	int ret, first = 0;

	for (unsigned int i = 0; i < HMMU_SOURCES; i++) {
		if (!(hmmu_sources[i]->bit & which))
			continue;
		ret = hmmu_sources[i]->open();
		if (!ret) {
			mm->sources |= hmmu_sources[i]->bit;
			hmmu_or_seqcst(&hmmu_instance_peek()->opened, hmmu_sources[i]->bit);
		} else if (named) {
			return ret;
		} else if (!first) {
			first = ret;
		}
	}
	return mm->sources ? 0 : first;
}

/* What a source's failure means to who opens. */
static int refusal(int ret)
{
	return ret == -ENOMEM || ret == -EMFILE || ret == -EEXIST ? ret : -EOPNOTSUPP;
}

/* With the instance's lock. */
static int open_sources(struct mm_struct *mm, const struct hmmu_mm_options *o)
{
	bool best = o->sources == HMMU_SOURCE_BEST;
	int ret = 0;

	mm->sources = 0;
	mm->net = NULL;
	if (!o->sources)
		return 0;
	/* First: a hook that finds no anchor makes a change that nobody can wait for. Without
	 * hooks there is none, and those that are linked in leave changes alone. */
	if (o->sources != HMMU_SOURCE_USERFAULTFD)
		ret = hmmu_source_anchor();
	if (ret)
		return ret;
	ret = refusal(try_sources(mm, best ? SOURCES_BEST : o->sources, !best));
	if (mm->sources && (best || mm->sources == o->sources))
		ret = meets(mm, o->require) ? 0 : -EOPNOTSUPP;
	if (ret)
		goto err_close;
	use_net(mm);
	ret = hmmu_source_attach(mm);
	if (!ret && mm->net)
		mm->net->drain();
	if (!ret)
		return 0;
err_close:
	close_sources(mm->sources);
	hmmu_and_seqcst(&mm->epoch, ~EPOCH_PROBE);
	mm->net = NULL;
	return ret;
}

static int open_locked(struct hmmu_instance *inst, struct mm_struct **out,
		       const struct hmmu_mm_options *o, struct hmmu_reclaimer *old)
{
	struct mm_struct *mm = hmmu_mm_get(inst);
	int ret;

	if (!mm)
		return -ENOMEM;
	mm->mm_flags = o->flags;
	if (!(mm->mm_flags & HMMU_MM_OWN_RECLAIM)) {
		ret = hmmu_reclaimer_use(inst);
		if (ret)
			goto err_put;
	}
	ret = open_sources(mm, o);
	if (ret)
		goto err_reclaimer;
	mm->next_open = inst->open;
	inst->open = mm;
	*out = mm;
	return 0;

err_reclaimer:
	if (!(mm->mm_flags & HMMU_MM_OWN_RECLAIM))
		hmmu_reclaimer_unuse(inst, old);
err_put:
	mm_put(inst, mm);
	return ret;
}

HMMU_EXPORT int hmmu_mm_open(struct mm_struct **mm, const struct hmmu_mm_options *options)
{
	const struct hmmu_mm_options best = {
		.size = sizeof(best),
		.sources = HMMU_SOURCE_BEST,
	};
	struct hmmu_reclaimer old = {0};
	struct hmmu_instance *inst;
	int ret, saved = errno;

	if (!mm)
		return -EINVAL;
	if (!options)
		options = &best;
	ret = check_options(options);
	if (ret)
		return ret;
	inst = hmmu_instance();
	if (!inst)
		return -ENOMEM;
	(void)HMMU_CONTEXT("open", HMMU_NOT_ANY, mm);
	hmmu_lock(&inst->lock);
	ret = open_locked(inst, mm, options, &old);
	hmmu_unlock(&inst->lock);
	hmmu_reclaimer_join(&old);
	errno = saved; /* sources call libc */
	return ret;
}

/* ---- close ------------------------------------------------------------ */

static bool subscribed(struct mm_struct *mm)
{
	bool yes;

	hmmu_mm_lock(mm);
	yes = mm->nsubs || mm->whole;
	hmmu_mm_unlock(mm);
	return yes;
}

/* The application's own: a source's are over once it was detached. */
static bool open_explicit(struct mm_struct *mm)
{
	bool yes;

	for (unsigned int i = 0; i < HMMU_SLOTS; i++) {
		if ((hmmu_load_acquire(&mm->slots[i].state) & SLOT_KIND) != SLOT_FREE)
			return true;
	}
	hmmu_mm_lock(mm);
	yes = mm->overflow.n > 0;
	hmmu_mm_unlock(mm);
	/* One that a handler opened inside the lock has no place but its mark. */
	return yes || (hmmu_load_acquire(&mm->epoch) & EPOCH_UNDECIDED);
}

/* A leaf is private and anonymous: dropped pages read as zeros, which is an empty
 * summary. A straggling hook may look: it finds nobody, which is true. */
static void forget_summary(struct mm_struct *mm)
{
	struct hmmu_summary *s = &mm->summary;

	for (unsigned int i = 0; i < SUMMARY_GIBS; i++) {
		if (!s->any3[i / 64]) {
			i |= 63;
			continue;
		}
		if ((s->leaf[i] & SUMMARY_KIND) == SUMMARY_FEW)
			hmmu_summary_forget_few(s, i);
		else if (s->leaf[i])
			hmmu_syscall(SYS_madvise, s->leaf[i], sizeof(struct hmmu_summary_leaf),
				     MADV_DONTNEED);
	}
}

static struct mm_struct **find_open(struct hmmu_instance *inst, const struct mm_struct *mm)
{
	struct mm_struct **link = &inst->open;

	while (*link && *link != mm)
		link = &(*link)->next_open;
	return *link ? link : NULL;
}

/* With the instance's lock. -EAGAIN: something was deferred meanwhile. */
static int close_locked(struct hmmu_instance *inst, struct mm_struct *mm,
			struct hmmu_reclaimer *old)
{
	struct mm_struct **link = find_open(inst, mm);

	if (!link) {
		hmmu_report("closed-twice", mm);
		return -EINVAL;
	}
	if (subscribed(mm))
		return -EBUSY;
	if (!hmmu_reclaim_idle(mm))
		return -EAGAIN;
	if (mm->sources)
		hmmu_source_detach(mm);
	if (mm->net)
		mm->net->drain();
	if (open_explicit(mm)) {
		/* There is a place: it has just been left, under this lock. */
		if (mm->sources)
			hmmu_source_attach(mm);
		return -EBUSY;
	}
	*link = mm->next_open;
	forget_summary(mm);
	close_sources(mm->sources);
	/* Sequences of this life are good for nothing in the next; and seq_floor stays. */
	mm->lost_sources = 0; /* plain: it is nobody's */
	hmmu_and_seqcst(&mm->epoch, ~(EPOCH_PROBE | EPOCH_UNWATCHED));
	hmmu_add_seqcst(&mm->epoch, EPOCH_STEP);
	if (!(mm->mm_flags & HMMU_MM_OWN_RECLAIM))
		hmmu_reclaimer_unuse(inst, old);
	mm_put(inst, mm);
	return 0;
}

HMMU_EXPORT int hmmu_mm_close(struct mm_struct *mm)
{
	struct hmmu_reclaimer old = {0};
	struct hmmu_instance *inst;
	int ret;

	if (!mm)
		return -EINVAL;
	if (!hmmu_mm_alive(mm))
		return 0; /* a forked child: it is the parent's */
	inst = hmmu_instance();
	if (!HMMU_CONTEXT("close", HMMU_NOT_ANY, mm))
		hmmu_lockdep_might(HMMU_CLASS_WORK);
	do {
		/* Without the lock: what was deferred may want to close another mm. Who is
		 * told LOST may defer some. */
		hmmu_mm_deliver_lost(mm);
		hmmu_reclaim_drain(mm);
		hmmu_lock(&inst->lock);
		ret = close_locked(inst, mm, &old);
		hmmu_unlock(&inst->lock);
	} while (ret == -EAGAIN);
	hmmu_reclaimer_join(&old);
	return ret;
}
