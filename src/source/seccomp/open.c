// SPDX-License-Identifier: MIT
/*
 * open.c - the seccomp source: set up once per process, and say what it catches.
 *
 *	this thread			receiver
 *	executors, spawner
 *	start of the whole mm
 *	(the keeper is a fork)
 *	receiver ->			own table, pipe, keeper, answerer, filter
 *	waits			<-	phase
 *	end of the whole mm
 *	a call of its own: was it bracketed?
 *	waits for calls that began before the filter (quiesce.c)
 *
 * Executors come from this thread, for its descriptor table; the answerer comes from the
 * receiver, for the other one. All have every signal blocked but libc's own, by which
 * setuid() reaches each thread.
 *
 * A filter stays for ever: there is no close. While nobody watches a notified call is
 * performed without anybody being called. A forked child has the filter and no listener:
 * it cannot open this source.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "futex.h"
#include "source/hooks/hooks.h"
#include "source/seccomp/seccomp.h"

static struct hmmu_seccomp *the_sup;
static int opened_by;	     /* a pid: a forked child inherits the word */
static bool proven, settled; /* by the process of that pid */
static const char *why = "it was not opened";

#ifdef HMMU_PLANT
int hmmu_seccomp_planted;
#endif

const char *hmmu_seccomp_why(void)
{
	return why;
}

int hmmu_seccomp_keeper(void)
{
	return the_sup && opened_by == getpid() ? the_sup->keeper : 0;
}

static struct hmmu_seccomp *sup_new(void)
{
	struct hmmu_seccomp *sup;
	long p = hmmu_syscall(SYS_mmap, NULL, sizeof(*sup), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (hmmu_is_err(p))
		return NULL;
	sup = (struct hmmu_seccomp *)p;
	sup->executors_max =
		HMMU_SECCOMP_PLANTED(FEW) ? SECCOMP_EXECUTORS_FIRST : SECCOMP_EXECUTORS_MAX;
	sup->listener = -1;
	sup->alive[0] = sup->alive[1] = -1;
	return sup;
}

static void sup_free(struct hmmu_seccomp *sup)
{
	hmmu_syscall(SYS_munmap, sup, sizeof(*sup));
}

static int create_executors(struct hmmu_seccomp *sup)
{
	int err;

	for (int i = 0; i < SECCOMP_EXECUTORS_FIRST; i++) {
		err = pthread_create(&sup->executor[i], NULL, hmmu_seccomp_executor, sup);
		if (err)
			return -err;
		hmmu_lock(&sup->lock);
		sup->executors++;
		hmmu_unlock(&sup->lock);
	}
	err = pthread_create(&sup->spawner, NULL, hmmu_seccomp_spawner, sup);
	if (err)
		sup->spawner = 0;
	return -err;
}

static void stop(struct hmmu_seccomp *sup)
{
	hmmu_store_release(&sup->quit, 1);
	hmmu_seccomp_kick(&sup->work, SECCOMP_EXECUTORS_MAX);
	hmmu_seccomp_kick(&sup->spawn, 1);
	hmmu_seccomp_kick(&sup->phase, 1);
	hmmu_seccomp_kick(&sup->answers, 1);
	for (unsigned int i = 0; i < sup->executors; i++)
		pthread_join(sup->executor[i], NULL);
	if (sup->spawner)
		pthread_join(sup->spawner, NULL);
	if (sup->receiver)
		pthread_join(sup->receiver, NULL);
	if (sup->answerer)
		pthread_join(sup->answerer, NULL);
}

static void detach(struct hmmu_seccomp *sup)
{
	for (int i = 0; i < SECCOMP_EXECUTORS_FIRST; i++)
		pthread_detach(sup->executor[i]);
	pthread_detach(sup->spawner);
	pthread_detach(sup->receiver);
	pthread_detach(sup->answerer);
}

/* Who watches already must be told: the keeper's copy arms copy-on-write. */
static int run_receiver(struct hmmu_seccomp *sup)
{
	struct hmmu_source_event ev;
	int err;

	hmmu_source_start(&ev, MMU_NOTIFY_PROTECTION_PAGE, 0, HMMU_TOP);
	err = -pthread_create(&sup->receiver, NULL, hmmu_seccomp_receiver, sup);
	if (err)
		sup->receiver = 0;
	while (!err && !hmmu_load_acquire(&sup->phase))
		hmmu_futex_wait(&sup->phase, 0, NULL);
	hmmu_source_end(&ev);
	if (!err) {
		err = sup->error;
		why = sup->why;
	}
	return err;
}

static bool kcmp_works(void)
{
	long self = getpid();

	return hmmu_syscall(SYS_kcmp, self, self, KCMP_VM) == 0 &&
	       hmmu_syscall(SYS_kcmp, self, self, KCMP_FILES) == 0;
}

/* A call from an instruction that is not the gate's: does it arrive? */
static bool arrives(struct hmmu_seccomp *sup)
{
	uint32_t before = hmmu_load_seqcst(&sup->served);
	long page = hmmu_syscall(SYS_mmap, NULL, HMMU_PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (hmmu_is_err(page))
		return false;
	hmmu_syscall(SYS_munmap, page, HMMU_PAGE);
	return hmmu_load_seqcst(&sup->served) != before;
}

static int install(void)
{
	struct hmmu_seccomp *sup;
	sigset_t all, before;
	int err;

	why = hmmu_seccomp_kernel();
	if (why)
		return -EOPNOTSUPP;
	why = "kcmp() is refused: callers could not be told apart";
	if (!kcmp_works())
		return -EOPNOTSUPP;
	why = "fork's handlers could not be registered";
	if (hmmu_hooks_fork_init())
		return -ENOMEM;
	why = "no memory, or no thread";
	sup = sup_new();
	if (!sup)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = create_executors(sup);
	if (!err)
		err = run_receiver(sup);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		stop(sup);
		sup_free(sup);
		return err == -ENOMEM ? err : -EOPNOTSUPP;
	}
	detach(sup);
	the_sup = sup;
	opened_by = getpid();
	proven = settled = false;
	return 0;
}

static int seccomp_open(void)
{
	int saved = errno, err = 0;

	if (opened_by != getpid()) {
		err = install();
	} else if (hmmu_load_acquire(&the_sup->lost)) {
		why = "the listener was lost";
		err = -EOPNOTSUPP;
	}
	if (!err && !proven) {
		why = "a call of this process did not arrive at the supervisor";
		proven = arrives(the_sup);
		err = proven ? 0 : -EOPNOTSUPP;
	}
	if (!err && !settled) {
		settled = hmmu_hooks_quiesce();
		why = "a call that was under way does not end";
		err = settled ? 0 : -EAGAIN;
	}
	if (!err)
		why = "";
	errno = saved;
	return err;
}

/* By this operation's way; through whatever it is called. */
static unsigned int by_way_of(unsigned int op, unsigned int caller)
{
	if (caller == HMMU_CALLER_IO_URING || caller == HMMU_CALLER_PROCESS)
		return HMMU_UNWATCHED;
	switch (op) {
	case HMMU_OP_FORK:
		return caller == HMMU_CALLER_LIBC || caller == HMMU_CALLER_LIBC_INTERNAL
			       ? HMMU_BRACKETED
			       : HMMU_UNWATCHED;
	case HMMU_OP_FTRUNCATE:
	case HMMU_OP_FALLOCATE:
		return HMMU_BY_RETURN; /* a file that is mapped meanwhile: serve.c */
	default:
		return HMMU_BRACKETED;
	}
}

static unsigned int seccomp_exactness(unsigned int op, unsigned int caller)
{
	if (opened_by != getpid() || !settled || hmmu_load_acquire(&the_sup->lost))
		return HMMU_UNWATCHED;
	return by_way_of(op, caller);
}

static const char *seccomp_why(void)
{
	return why[0] ? why : NULL;
}

const struct hmmu_source hmmu_source_seccomp = {
	.name = "seccomp",
	.bit = HMMU_SOURCE_SECCOMP,
	.open = seccomp_open,
	.exactness = seccomp_exactness,
	.why = seccomp_why,
};
