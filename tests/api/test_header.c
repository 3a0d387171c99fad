/* SPDX-License-Identifier: MIT */
/*
 * test_header.c - the public header alone: built as C11 and as C++17, by each
 * compiler that is here. Sizes and offsets are ABI; prototypes are the documented
 * ones; a program in either language links and runs one round of everything.
 */
#include <hmmu/mmu_notifier.h>

#define IS(cond) HMMU_STATIC_ASSERT(cond, #cond)

IS(sizeof(struct mmu_notifier_range) == 128);
IS(sizeof(struct mmu_interval_notifier) == 128);
IS(sizeof(struct mmu_notifier) == 128);
IS(sizeof(struct hmmu_work) == 32);
IS(sizeof(struct hmmu_mm_options) == 40);
IS(sizeof(struct hmmu_coverage) == 16);
IS(sizeof(struct mmu_interval_notifier_ops) == 8);
IS(sizeof(struct mmu_notifier_ops) == 40);

IS(offsetof(struct mmu_notifier_range, mm) == 0);
IS(offsetof(struct mmu_notifier_range, start) == 8);
IS(offsetof(struct mmu_notifier_range, end) == 16);
IS(offsetof(struct mmu_notifier_range, flags) == 24);
IS(offsetof(struct mmu_notifier_range, event) == 28);
IS(offsetof(struct mmu_notifier_range, phase) == 32);
IS(offsetof(struct mmu_notifier_range, owner) == 40);

IS(offsetof(struct mmu_interval_notifier, mm) == 16);
IS(offsetof(struct mmu_interval_notifier, ops) == 24);

IS(offsetof(struct mmu_notifier, ops) == 0);
IS(offsetof(struct mmu_notifier, mm) == 8);
IS(offsetof(struct mmu_notifier, work) == 16);

IS(offsetof(struct hmmu_work, next) == 0);
IS(offsetof(struct hmmu_work, fn) == 8);
IS(offsetof(struct hmmu_work, mm) == 16);

IS(offsetof(struct hmmu_mm_options, size) == 0);
IS(offsetof(struct hmmu_mm_options, sources) == 8);
IS(offsetof(struct hmmu_mm_options, require) == 12);
IS(offsetof(struct hmmu_mm_options, flags) == 16);
IS(offsetof(struct hmmu_mm_options, reserved) == 20);

IS(offsetof(struct hmmu_coverage, operation) == 0);
IS(offsetof(struct hmmu_coverage, caller) == 2);
IS(offsetof(struct hmmu_coverage, memory) == 4);
IS(offsetof(struct hmmu_coverage, exactness) == 6);
IS(offsetof(struct hmmu_coverage, source) == 8);

IS(offsetof(struct mmu_notifier_ops, release) == 0);
IS(offsetof(struct mmu_notifier_ops, invalidate_range_start) == 8);
IS(offsetof(struct mmu_notifier_ops, invalidate_range_end) == 16);
IS(offsetof(struct mmu_notifier_ops, alloc_notifier) == 24);
IS(offsetof(struct mmu_notifier_ops, free_notifier) == 32);

/* Linux's values; ours; none may move. */
IS(MMU_NOTIFY_UNMAP == 0 && MMU_NOTIFY_CLEAR == 1 && MMU_NOTIFY_PROTECTION_VMA == 2);
IS(MMU_NOTIFY_PROTECTION_PAGE == 3 && MMU_NOTIFY_SOFT_DIRTY == 4 && MMU_NOTIFY_RELEASE == 5);
IS(MMU_NOTIFY_MIGRATE == 6 && MMU_NOTIFY_EXCLUSIVE == 7);
IS(MMU_NOTIFIER_RANGE_BLOCKABLE == 1);
IS(HMMU_PHASE_BEFORE == 0 && HMMU_PHASE_AFTER == 1 && HMMU_PHASE_LOST == 2);
IS(HMMU_SOURCE_EXPLICIT == 0 && HMMU_SOURCE_HOOKS == 1 && HMMU_SOURCE_BEST == 1u << 31);
IS(HMMU_SOURCE_USERFAULTFD == 2 && HMMU_SOURCE_SECCOMP == 4);
IS(HMMU_MM_OWN_RECLAIM == 1 && HMMU_MM_PROBE_ACCESS == 2);
IS(HMMU_UNWATCHED == 0 && HMMU_BY_RETURN_REUSE_OPEN == 1 && HMMU_BY_RETURN == 2);
IS(HMMU_BRACKETED == 3);

/* Each entry, by its documented type. Not static: all of them have to link. */
struct entries {
	int (*open)(struct mm_struct **, const struct hmmu_mm_options *);
	int (*close)(struct mm_struct *);
	int (*describe)(struct mm_struct *, struct hmmu_coverage *, size_t);
	const char *(*why)(unsigned int);
	int (*insert)(struct mmu_interval_notifier *, struct mm_struct *, unsigned long,
		      unsigned long, const struct mmu_interval_notifier_ops *);
	void (*remove)(struct mmu_interval_notifier *);
	unsigned long (*read_begin)(struct mmu_interval_notifier *);
	int (*read_begin_by)(struct mmu_interval_notifier *, unsigned long *,
			     const struct timespec *);
	bool (*retry)(struct mmu_interval_notifier *, unsigned long);
	bool (*check_retry)(struct mmu_interval_notifier *, unsigned long);
	void (*set_seq)(struct mmu_interval_notifier *, unsigned long);
	bool (*access_ok)(struct mmu_interval_notifier *, unsigned long);
	void (*acquired)(struct mmu_interval_notifier *);
	void (*released)(struct mmu_interval_notifier *);
	void (*lock)(const void *, const char *, bool);
	void (*unlock)(const void *);
	void (*init)(struct mmu_notifier_range *, enum mmu_notifier_event, unsigned int,
		     struct mm_struct *, unsigned long, unsigned long);
	void (*init_owner)(struct mmu_notifier_range *, enum mmu_notifier_event, unsigned int,
			   struct mm_struct *, unsigned long, unsigned long, void *);
	int (*start)(struct mmu_notifier_range *);
	int (*start_nonblock)(struct mmu_notifier_range *);
	void (*end)(struct mmu_notifier_range *);
	int (*do_register)(struct mmu_notifier *, struct mm_struct *);
	void (*unregister)(struct mmu_notifier *, struct mm_struct *);
	int (*get)(const struct mmu_notifier_ops *, struct mm_struct *, struct mmu_notifier **);
	void (*put)(struct mmu_notifier *);
	void (*synchronize)(void);
	void (*defer)(struct mm_struct *, struct hmmu_work *, void (*)(struct hmmu_work *));
	int (*reclaim)(struct mm_struct *);
};

static const struct entries entries = {
	hmmu_mm_open,
	hmmu_mm_close,
	hmmu_mm_describe,
	hmmu_source_why,
	mmu_interval_notifier_insert,
	mmu_interval_notifier_remove,
	mmu_interval_read_begin,
	hmmu_read_begin,
	mmu_interval_read_retry,
	mmu_interval_check_retry,
	mmu_interval_set_seq,
	hmmu_access_ok,
	hmmu_driver_lock_acquired,
	hmmu_driver_lock_released,
	hmmu_debug_lock,
	hmmu_debug_unlock,
	mmu_notifier_range_init,
	mmu_notifier_range_init_owner,
	mmu_notifier_invalidate_range_start,
	mmu_notifier_invalidate_range_start_nonblock,
	mmu_notifier_invalidate_range_end,
	mmu_notifier_register,
	mmu_notifier_unregister,
	mmu_notifier_get,
	mmu_notifier_put,
	mmu_notifier_synchronize,
	hmmu_defer,
	hmmu_reclaim,
};

static int calls;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	calls += mmu_notifier_range_blockable(range) ? 1 : 100;
	entries.set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {invalidate};

int main(void)
{
	struct hmmu_mm_options options = {
		sizeof(options), HMMU_SOURCE_EXPLICIT, 0, 0, {0, 0, 0, 0, 0}};
	struct mmu_interval_notifier sub;
	struct mmu_notifier_range range;
	struct mm_struct *mm;
	unsigned long seq;

	if (entries.open(&mm, &options) || entries.insert(&sub, mm, 0x1000, 0x1000, &ops))
		return 1;
	seq = entries.read_begin(&sub);
	if (entries.retry(&sub, seq) || !entries.access_ok(&sub, seq))
		return 2;
	entries.init(&range, MMU_NOTIFY_UNMAP, 0, mm, 0x1000, 0x2000);
	if (entries.start(&range))
		return 3;
	entries.end(&range);
	if (calls != 1 || !entries.retry(&sub, seq) || entries.access_ok(&sub, seq))
		return 4;
	/* by name: these may be inlined */
	seq = mmu_interval_read_begin(&sub);
	if (mmu_interval_read_retry(&sub, seq) || mmu_interval_check_retry(&sub, seq) ||
	    !hmmu_access_ok(&sub, seq) || entries.retry(&sub, seq))
		return 5;
	entries.remove(&sub);
	return entries.close(mm) ? 6 : 0;
}
