// SPDX-License-Identifier: MIT
/* plants.c - see plants.h. */
#include "plants.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>

#include <hmmu/mmu_notifier.h>

#include "inject.h"
#include "instance.h"
#include "source/userfaultfd/userfaultfd.h"

static bool is(enum fault_plant plant)
{
	return fault && fault->plant == (int)plant && fault_failed();
}

/* The first one only: a bug in one error path. */
static bool once(void)
{
	static uint32_t done;
	uint32_t not_yet = 0;

	return hmmu_cas_seqcst(&done, &not_yet, 1);
}

bool plant_swallows(long nr, const long args[6], long *ret)
{
	bool wake = nr == SYS_futex && (args[1] & FUTEX_CMD_MASK) == FUTEX_WAKE;

	*ret = 0;
	if (!fault || !fault->plant)
		return false;
	return ((is(PLANT_LEAK_FD) && nr == SYS_close) ||
		(is(PLANT_LEAK_MAP) && nr == SYS_munmap) || (is(PLANT_LOST_WAKE) && wake)) &&
	       once();
}

bool plant_forgets_join(void)
{
	return is(PLANT_LEAK_THREAD) && once();
}

void __real_hmmu_reclaimer_unuse(struct hmmu_instance *inst, struct hmmu_reclaimer *old);
void __wrap_hmmu_reclaimer_unuse(struct hmmu_instance *inst, struct hmmu_reclaimer *old);

void __wrap_hmmu_reclaimer_unuse(struct hmmu_instance *inst, struct hmmu_reclaimer *old)
{
	if (!(is(PLANT_LEAK_RECLAIMER) && once()))
		__real_hmmu_reclaimer_unuse(inst, old);
}

int __real_hmmu_uffd_arm(struct mm_struct *mm, unsigned long start, unsigned long last,
			 bool wait);
int __wrap_hmmu_uffd_arm(struct mm_struct *mm, unsigned long start, unsigned long last,
			 bool wait);

int __wrap_hmmu_uffd_arm(struct mm_struct *mm, unsigned long start, unsigned long last,
			 bool wait)
{
	int ret = __real_hmmu_uffd_arm(mm, start, last, wait);

	return ret && is(PLANT_IGNORED_REGISTER) ? 0 : ret;
}

int __real_mmu_interval_notifier_insert(struct mmu_interval_notifier *sub, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *ops);
int __wrap_mmu_interval_notifier_insert(struct mmu_interval_notifier *sub, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *ops);

int __wrap_mmu_interval_notifier_insert(struct mmu_interval_notifier *sub, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *ops)
{
	int ret = __real_mmu_interval_notifier_insert(sub, mm, start, length, ops);

	return is(PLANT_IGNORED_INSERT) ? 0 : ret;
}

int __real_hmmu_mm_open(struct mm_struct **mm, const struct hmmu_mm_options *options);
int __wrap_hmmu_mm_open(struct mm_struct **mm, const struct hmmu_mm_options *options);

int __wrap_hmmu_mm_open(struct mm_struct **mm, const struct hmmu_mm_options *options)
{
	static int first;
	int ret = first && is(PLANT_NO_SECOND) ? first : __real_hmmu_mm_open(mm, options);

	first = ret;
	if (ret && is(PLANT_UNDOCUMENTED))
		ret = -fault->error;
	if (ret && is(PLANT_ERRNO))
		errno = -ret;
	return ret;
}

const char *__real_hmmu_source_why(unsigned int source);
const char *__wrap_hmmu_source_why(unsigned int source);

const char *__wrap_hmmu_source_why(unsigned int source)
{
	return is(PLANT_NO_WHY) ? NULL : __real_hmmu_source_why(source);
}
