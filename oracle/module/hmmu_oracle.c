// SPDX-License-Identifier: GPL-2.0
/*
 * hmmu_oracle.c - Linux's own mmu_interval_notifiers on the mm of a process, and a log of
 * whatever they are told. The player (oracle/play/) makes the changes with ordinary system
 * calls and asks this module to insert, remove, begin and retry.
 *
 * The driver's part is by the book (Documentation/mm/hmm.rst): one lock per session, which
 * invalidate takes, or refuses when it may not sleep; set_seq under it; retry under it.
 *
 * Beside the interval notifiers there is a whole-mm one: it logs each start and end, so that
 * a log from which something is missing shows it by itself.
 *
 *	session->lock	driver lock. Nests in the mmap lock (callbacks).
 *	session->spin	the log. Innermost.
 *
 * ORACLE_HMM is Linux's hmm_range_fault() beside them, for tests/hmm/real.
 *
 * Ioctls of one session are not made in parallel but those of the gate (HOLD, HELD, OPEN)
 * and, while a call is held, INSERT, BEGIN and RETRY.
 */
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "hmmu_oracle.h"

#define EVENTS 8192

struct session;

struct subscription {
	struct mmu_interval_notifier mni;
	struct session *session;
	bool live;
};

struct session {
	struct mm_struct *mm; /* grabbed; NULL: not bound */
	struct mmu_notifier whole;
	struct mutex lock;
	struct subscription sub[ORACLE_SUBS];

	spinlock_t spin;
	unsigned int head, tail; /* both only grow; under spin */
	unsigned int dropped;
	struct oracle_event *events;

	/* The gate. hold: id + 1, 0 none. */
	wait_queue_head_t wait;
	unsigned int hold;
	bool held, open;
};

static void put_event(struct session *s, const struct oracle_event *ev)
{
	unsigned long flags;

	spin_lock_irqsave(&s->spin, flags);
	if (s->head - s->tail == EVENTS)
		s->dropped++;
	else
		s->events[s->head++ % EVENTS] = *ev;
	spin_unlock_irqrestore(&s->spin, flags);
}

static void log_range(struct session *s, enum oracle_what what, unsigned int id,
		      const struct mmu_notifier_range *range, unsigned long seq)
{
	struct oracle_event ev = {
		.what = what,
		.id = id,
		.event = range->event,
		.start = range->start,
		.end = range->end,
		.seq = seq,
	};

	if (current->mm == s->mm)
		ev.flags |= ORACLE_OWN;
	if (mmu_notifier_range_blockable(range))
		ev.flags |= ORACLE_BLOCKABLE;
	put_event(s, &ev);
}

/* After set_seq, with no lock of ours. */
static void pass_gate(struct session *s, unsigned int id)
{
	if (READ_ONCE(s->hold) != id + 1)
		return;
	WRITE_ONCE(s->hold, 0);
	WRITE_ONCE(s->held, true);
	wait_event_timeout(s->wait, READ_ONCE(s->open), 5 * HZ);
}

static bool oracle_invalidate(struct mmu_interval_notifier *mni,
			      const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct subscription *sub = container_of(mni, struct subscription, mni);
	struct session *s = sub->session;
	unsigned int id = sub - s->sub;

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&s->lock);
	else if (!mutex_trylock(&s->lock))
		return false;
	mmu_interval_set_seq(mni, cur_seq);
	log_range(s, ORACLE_CALL, id, range, cur_seq);
	mutex_unlock(&s->lock);
	if (mmu_notifier_range_blockable(range))
		pass_gate(s, id);
	return true;
}

static const struct mmu_interval_notifier_ops interval_ops = {
	.invalidate = oracle_invalidate,
};

static int whole_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	log_range(container_of(mn, struct session, whole), ORACLE_START, 0, range, 0);
	return 0;
}

static void whole_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	log_range(container_of(mn, struct session, whole), ORACLE_END, 0, range, 0);
}

static void whole_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct oracle_event ev = {.what = ORACLE_RELEASE, .flags = ORACLE_OWN};

	put_event(container_of(mn, struct session, whole), &ev);
}

static const struct mmu_notifier_ops whole_ops = {
	.invalidate_range_start = whole_start,
	.invalidate_range_end = whole_end,
	.release = whole_release,
};

static long session_bind(struct session *s)
{
	int ret;

	if (s->mm)
		return -EBUSY;
	s->whole.ops = &whole_ops;
	ret = mmu_notifier_register(&s->whole, current->mm);
	if (ret)
		return ret;
	mmgrab(current->mm);
	s->mm = current->mm;
	return 0;
}

static long session_insert(struct session *s, const struct oracle_sub *arg)
{
	struct subscription *sub = &s->sub[arg->id];
	int ret;

	if (sub->live)
		return -EEXIST;
	sub->session = s;
	ret = mmu_interval_notifier_insert(&sub->mni, s->mm, arg->start, arg->length,
					   &interval_ops);
	sub->live = !ret;
	return ret;
}

static void session_remove(struct subscription *sub)
{
	if (!sub->live)
		return;
	mmu_interval_notifier_remove(&sub->mni);
	sub->live = false;
}

static long session_retry(struct session *s, const struct oracle_sub *arg)
{
	bool retry;

	mutex_lock(&s->lock);
	retry = mmu_interval_read_retry(&s->sub[arg->id].mni, arg->seq);
	mutex_unlock(&s->lock);
	return retry;
}

#if IS_ENABLED(CONFIG_HMM_MIRROR)
static bool hmm_invalidate(struct mmu_interval_notifier *mni,
			   const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(mni, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops hmm_ops = {
	.invalidate = hmm_invalidate,
};

/* Nobody uses the answers as translations: no lock, it only has to be of one moment. */
static long hmm_once(struct hmm_range *range)
{
	long ret;

	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		memset(range->hmm_pfns, 0,
		       (range->end - range->start) / PAGE_SIZE * sizeof(*range->hmm_pfns));
		mmap_read_lock(current->mm);
		ret = hmm_range_fault(range);
		mmap_read_unlock(current->mm);
	} while (ret == -EBUSY ||
		 mmu_interval_read_retry(range->notifier, range->notifier_seq));
	return ret;
}

static long session_hmm(const struct oracle_hmm __user *user)
{
	struct mmu_interval_notifier mni;
	struct hmm_range range = {.notifier = &mni};
	struct oracle_hmm arg;
	long ret;

	if (copy_from_user(&arg, user, sizeof(arg)))
		return -EFAULT;
	if (!arg.pages || arg.pages > ORACLE_HMM_PAGES)
		return -EINVAL;
	range.start = arg.start;
	range.end = arg.start + arg.pages * PAGE_SIZE;
	range.default_flags = arg.flags;
	range.hmm_pfns = kvcalloc(arg.pages, sizeof(*range.hmm_pfns), GFP_KERNEL);
	if (!range.hmm_pfns)
		return -ENOMEM;
	ret = mmu_interval_notifier_insert(&mni, current->mm, range.start,
					   range.end - range.start, &hmm_ops);
	if (!ret) {
		ret = hmm_once(&range);
		mmu_interval_notifier_remove(&mni);
	}
	if (!ret && copy_to_user(u64_to_user_ptr(arg.pfns), range.hmm_pfns,
				 arg.pages * sizeof(*range.hmm_pfns)))
		ret = -ENOBUFS;
	kvfree(range.hmm_pfns);
	return ret;
}
#else
static long session_hmm(const struct oracle_hmm __user *user)
{
	return -EOPNOTSUPP;
}
#endif

static long sub_ioctl(struct session *s, unsigned int cmd, struct oracle_sub __user *user)
{
	struct oracle_sub arg;

	if (copy_from_user(&arg, user, sizeof(arg)))
		return -EFAULT;
	if (arg.id >= ORACLE_SUBS)
		return -EINVAL;
	if (cmd == ORACLE_INSERT)
		return session_insert(s, &arg);
	if (!s->sub[arg.id].live)
		return -ENOENT;
	switch (cmd) {
	case ORACLE_REMOVE:
		session_remove(&s->sub[arg.id]);
		return 0;
	case ORACLE_BEGIN:
		arg.seq = mmu_interval_read_begin(&s->sub[arg.id].mni);
		return copy_to_user(user, &arg, sizeof(arg)) ? -EFAULT : 0;
	case ORACLE_RETRY:
		return session_retry(s, &arg);
	case ORACLE_HOLD:
		s->held = false;
		s->open = false;
		WRITE_ONCE(s->hold, arg.id + 1);
		return 0;
	default:
		return -ENOTTY;
	}
}

static long oracle_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct session *s = file->private_data;

	if (cmd == ORACLE_BIND)
		return session_bind(s);
	if (!s->mm || current->mm != s->mm)
		return -ESRCH;
	switch (cmd) {
	case ORACLE_HMM:
		return session_hmm((const struct oracle_hmm __user *)arg);
	case ORACLE_DROPPED:
		return s->dropped;
	case ORACLE_HELD:
		return READ_ONCE(s->held);
	case ORACLE_OPEN:
		WRITE_ONCE(s->hold, 0);
		WRITE_ONCE(s->open, true);
		wake_up_all(&s->wait);
		return 0;
	default:
		return sub_ioctl(s, cmd, (struct oracle_sub __user *)arg);
	}
}

static bool take_event(struct session *s, struct oracle_event *ev)
{
	unsigned long flags;
	bool any;

	spin_lock_irqsave(&s->spin, flags);
	any = s->head != s->tail;
	if (any)
		*ev = s->events[s->tail++ % EVENTS];
	spin_unlock_irqrestore(&s->spin, flags);
	return any;
}

static ssize_t oracle_read(struct file *file, char __user *buf, size_t n, loff_t *pos)
{
	struct session *s = file->private_data;
	struct oracle_event ev;
	ssize_t done = 0;

	while (n - done >= sizeof(ev) && take_event(s, &ev)) {
		if (copy_to_user(buf + done, &ev, sizeof(ev)))
			return -EFAULT;
		done += sizeof(ev);
	}
	return done;
}

static int oracle_open(struct inode *inode, struct file *file)
{
	struct session *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return -ENOMEM;
	s->events = kvcalloc(EVENTS, sizeof(*s->events), GFP_KERNEL);
	if (!s->events) {
		kfree(s);
		return -ENOMEM;
	}
	mutex_init(&s->lock);
	spin_lock_init(&s->spin);
	init_waitqueue_head(&s->wait);
	file->private_data = s;
	return 0;
}

/* The last holder closes: the process may be gone already. */
static int oracle_release(struct inode *inode, struct file *file)
{
	struct session *s = file->private_data;
	unsigned int i;

	for (i = 0; i < ORACLE_SUBS; i++)
		session_remove(&s->sub[i]);
	if (s->mm) {
		mmu_notifier_unregister(&s->whole, s->mm);
		mmdrop(s->mm);
	}
	kvfree(s->events);
	kfree(s);
	return 0;
}

static const struct file_operations oracle_fops = {
	.owner = THIS_MODULE,
	.open = oracle_open,
	.release = oracle_release,
	.read = oracle_read,
	.unlocked_ioctl = oracle_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice oracle_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = ORACLE_DEVICE,
	.fops = &oracle_fops,
};

module_misc_device(oracle_device);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What Linux's mmu_interval_notifier is told, for a player of scripts");
