// SPDX-License-Identifier: MIT
/*
 * keeper.c - the process that answers when the application is gone, or has become another
 * program.
 *
 * It is a copy of the application, made before the filter is in (it must not be a user of
 * it: it ends when there is none). It then unmaps everything but the pages of this
 * file's functions and the slots, so that it holds none of the application's memory. From there
 * on nothing but registers, its stack and the slots exist: no libc, no thread-local storage, no
 * constant of another section. Everything it calls is inline or in this section.
 *
 * It has exit_signal 0: wait() does not see it (only __WALL and __WCLONE do) and SIGCHLD
 * does not come. All signals are blocked; setsid() keeps it out of what is sent to the
 * application's group. SIGKILL ends it: then nobody answers for those that outlive the
 * application.
 */
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "futex.h"
#include "source/hooks/hooks.h"
#include "source/seccomp/seccomp.h"

#if defined(__has_attribute)
#if __has_attribute(no_stack_protector)
#define KEEPER_BARE __attribute__((no_stack_protector))
#endif
#endif
#ifndef KEEPER_BARE
#define KEEPER_BARE
#endif
#define KEEPER HMMU_HOOK KEEPER_BARE __attribute__((section("hmmu_keeper"), noinline))

/* Of the section: the linker's. */
extern const char __start_hmmu_keeper[] __attribute__((visibility("hidden")));
extern const char __stop_hmmu_keeper[] __attribute__((visibility("hidden")));

/* What is not optimised calls its inline functions, in another section; a test build's
 * system calls look at hmmu_syscall_hook, and gcov's counters are data. */
#if defined(__OPTIMIZE__) && !defined(HMMU_SCHED) && !defined(HMMU_FAULT) && \
	!defined(HMMU_COVERAGE)
#define KEEPER_ALONE (!HMMU_HOOK_TSAN)
#else
#define KEEPER_ALONE false
#endif

/* Above what a process without 57-bit hints has mapped. */
#define USER_TOP 0x7ffffffff000UL
#define REMAINS_MS 100
#define MAKER_S 5
#define TABLE_TRIES 100 /* a millisecond apart */

/* The compiler must not make a call of memset out of a loop. */
#define KEEP_LOOP() __asm__ volatile("" ::: "memory")

/* Until it is told whether to go. Its maker may die before it says so: nobody would wake it. */
KEEPER static void keeper_wait(struct hmmu_seccomp *sup)
{
	struct timespec ts;

	while (hmmu_load_acquire(&sup->keeper_go) == KEEPER_WAIT) {
		ts.tv_sec = MAKER_S;
		ts.tv_nsec = 0;
		if (hmmu_syscall(SYS_futex, &sup->keeper_go, FUTEX_WAIT, KEEPER_WAIT, &ts) ==
			    -ETIMEDOUT &&
		    hmmu_syscall(SYS_getppid) != sup->maker)
			hmmu_store_release(&sup->keeper_go, KEEPER_QUIT);
	}
}

KEEPER static void keeper_drop(unsigned long from, unsigned long to)
{
	if (from < to)
		hmmu_syscall(SYS_munmap, from, to - from);
}

KEEPER static void keeper_drop_memory(unsigned long code, unsigned long code_end,
				      unsigned long data, unsigned long data_end)
{
	unsigned long first = code, first_end = code_end, second = data, second_end = data_end;

	if (data < code) {
		first = data;
		first_end = data_end;
		second = code;
		second_end = code_end;
	}
	keeper_drop(HMMU_PAGE, first);
	keeper_drop(first_end, second);
	keeper_drop(second_end, USER_TOP);
}

KEEPER static void keeper_send(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	hmmu_syscall(SYS_ioctl, sup->listener, SECCOMP_IOCTL_NOTIF_SEND, &slot->resp);
	hmmu_store_release(&slot->notif.id, 0);
}

KEEPER static void keeper_continue(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	slot->resp.id = slot->notif.id;
	slot->resp.val = 0;
	slot->resp.error = 0;
	slot->resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	keeper_send(sup, slot);
}

/*
 * What the supervisor received and did not answer. Where it may have performed it, the
 * caller (a process that shares the dead one's memory) is told EINTR: it is not done
 * twice. True: the supervisor lives, has handed over, and still works on some.
 */
KEEPER static bool keeper_answer_left(struct hmmu_seccomp *sup)
{
	bool lives = hmmu_load_acquire(&sup->handover), remain = false;

	for (int i = 0; i < SECCOMP_SLOTS; i++) {
		struct hmmu_seccomp_slot *slot = &sup->slot[i];
		uint32_t state = hmmu_load_acquire(&slot->state);

		KEEP_LOOP();
		if (!hmmu_load_acquire(&slot->notif.id))
			continue;
		if (state == SLOT_SEC_DONE) {
			keeper_send(sup, slot);
		} else if (lives) {
			remain = true;
		} else if (state == SLOT_SEC_PERFORMING || state == SLOT_SEC_TAKEN) {
			slot->resp.id = slot->notif.id;
			slot->resp.val = 0;
			slot->resp.error = -EINTR;
			slot->resp.flags = 0;
			keeper_send(sup, slot);
		} else {
			keeper_continue(sup, slot);
		}
	}
	return remain;
}

KEEPER static void keeper_poll(int fd, short events, int timeout, short *revents)
{
	struct pollfd p;
	long ret;

	do {
		p.fd = fd;
		p.events = events;
		p.revents = 0;
		ret = hmmu_poll(&p, 1, timeout);
	} while (ret < 0);
	*revents = p.revents;
}

/* Until nobody uses the filter. */
KEEPER static void keeper_answer(struct hmmu_seccomp *sup)
{
	struct hmmu_seccomp_slot *slot = &sup->keeper_slot;
	bool remain = !sup->forgets && keeper_answer_left(sup);
	short revents;

	for (;;) {
		keeper_poll(sup->listener, POLLIN, remain ? REMAINS_MS : -1, &revents);
		if (remain)
			remain = keeper_answer_left(sup);
		if (revents & POLLIN) {
			for (unsigned int i = 0; i < sizeof(slot->room); i++) {
				slot->room[i] = 0; /* the kernel insists */
				KEEP_LOOP();
			}
			if (!hmmu_syscall(SYS_ioctl, sup->listener, SECCOMP_IOCTL_NOTIF_RECV,
					  &slot->notif))
				keeper_continue(sup, slot);
		} else if (revents) {
			return; /* HUP */
		}
	}
}

/* Without a table of its own it would hold the end of the pipe whose closing it waits for, and
 * close the supervisor's. */
KEEPER static bool keeper_table(void)
{
	struct timespec ts;
	int tries = 0;

	while (hmmu_syscall(SYS_unshare, CLONE_FILES)) {
		if (++tries == TABLE_TRIES)
			return false;
		ts.tv_sec = 0;
		ts.tv_nsec = 1000000;
		hmmu_syscall(SYS_nanosleep, &ts, NULL);
	}
	return true;
}

__attribute__((used)) KEEPER static void keeper_main(struct hmmu_seccomp *sup)
{
	unsigned long code = (unsigned long)__start_hmmu_keeper & -HMMU_PAGE;
	unsigned long code_end =
		((unsigned long)__stop_hmmu_keeper + HMMU_PAGE - 1) & -HMMU_PAGE;
	unsigned long data = (unsigned long)sup;
	unsigned long data_end = (data + sizeof(*sup) + HMMU_PAGE - 1) & -HMMU_PAGE;
	short revents;
	bool works;

	hmmu_syscall(SYS_prctl, PR_SET_NAME, "hmmu-keeper");
	hmmu_syscall(SYS_setsid);
	hmmu_syscall(SYS_chdir, "/");
	keeper_wait(sup);
	if (hmmu_load_acquire(&sup->keeper_go) == KEEPER_GO) {
		works = keeper_table();
		if (works)
			hmmu_syscall(SYS_close, sup->alive[1]);
		if (KEEPER_ALONE)
			keeper_drop_memory(code, code_end, data, data_end);
		hmmu_store_release(&sup->keeper_ready, works ? KEEPER_READY : KEEPER_FAILED);
		hmmu_syscall(SYS_futex, &sup->keeper_ready, FUTEX_WAKE, 1);
		if (works) {
			keeper_poll(sup->alive[0], 0, -1, &revents);
			keeper_answer(sup);
		}
	}
	for (;;)
		hmmu_syscall(SYS_exit_group, 0);
}

/* clone() whose child calls @fn(@sup), which does not return, on a stack of its own. */
HMMU_ALWAYS_INLINE long clone_at(unsigned long flags, void *stack_end,
				 void (*fn)(struct hmmu_seccomp *), struct hmmu_seccomp *sup,
				 int *gone)
{
#ifdef HMMU_FAULT
	/* A test may refuse it; 0: it is made here, for it returns twice. Before the
	 * registers are filled. */
	long ret = hmmu_syscall(SYS_clone, flags, stack_end, 0, gone);

	if (ret)
		return ret;
#else
	long ret;
#endif
	register int *r10 __asm__("r10") = gone;
	register long r8 __asm__("r8") = 0;
	register struct hmmu_seccomp *r12 __asm__("r12") = sup;
	register void (*r13)(struct hmmu_seccomp *) __asm__("r13") = fn;

	__asm__ volatile("syscall\n"
			 "	test %%rax, %%rax\n"
			 "	jnz 1f\n"
			 "	xor %%ebp, %%ebp\n"
			 "	mov %%r12, %%rdi\n"
			 "	call *%%r13\n"
			 "	ud2\n"
			 "1:\n"
			 : "=a"(ret)
			 : "a"(SYS_clone), "D"(flags), "S"(stack_end), "d"(0), "r"(r10),
			   "r"(r8), "r"(r12), "r"(r13)
			 : "rcx", "r11", "memory", "cc");
	return ret;
}

/*
 * A thread that libc does not know: a copy of one that it knows would have its rseq area,
 * which the kernel writes to whenever it likes, and that is going to be unmapped.
 * CLONE_VM leaves it behind.
 */
__attribute__((used)) KEEPER static void launcher_main(struct hmmu_seccomp *sup)
{
	sup->keeper = (int)clone_at(CLONE_FILES, sup->stack + sizeof(sup->stack) / 2,
				    keeper_main, sup, NULL);
	for (;;)
		hmmu_syscall(SYS_exit, 0);
}

int hmmu_seccomp_keep(struct hmmu_seccomp *sup)
{
	const unsigned long thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
				     CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	uint64_t all = ~0ULL, before = 0;
	long ret;

	sup->forgets = HMMU_SECCOMP_PLANTED(FORGETS); /* it has no other memory */
	/* libc's own two included, for the copy; this thread has them back at once. */
	hmmu_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	sup->launcher = 1;
	sup->maker = (int)hmmu_syscall(SYS_getpid);
	ret = clone_at(thread, sup->stack + sizeof(sup->stack), launcher_main, sup,
		       &sup->launcher);
	hmmu_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(all));
	if (ret < 0)
		return (int)ret;
	/* The kernel clears it when the thread is off its stack. */
	while (hmmu_load_acquire(&sup->launcher))
		hmmu_syscall(SYS_futex, &sup->launcher, FUTEX_WAIT, 1, NULL);
	/* Children of the application have no use for the slots. */
	if (sup->keeper > 0)
		hmmu_syscall(SYS_madvise, sup, sizeof(*sup), MADV_DONTFORK);
	return sup->keeper;
}
