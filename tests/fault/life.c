// SPDX-License-Identifier: MIT
/* life.c - an address space from open to close. See life.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inject.h"
#include "life.h"
#include "wraps.h"
#include "arch/syscall.h"
#include "atomic.h"

#define CROWD 1500 /* subscriptions: the tree's nodes need more than one chunk */
#define FAR_AWAY ((void *)0x200000000000UL)

void stage(const char *name)
{
	strncpy(fault->stage, name, sizeof(fault->stage) - 1);
}

void broken(const char *how, ...)
{
	va_list args;
	char text[sizeof(fault->failure)];

	va_start(args, how);
	vsnprintf(text, sizeof(text), how, args);
	va_end(args);
	if (!fault->failure[0])
		memcpy(fault->failure, text, sizeof(text));
	hmmu_syscall6(SYS_exit_group, 3, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}

void documented(const char *call, int ret, const int *list)
{
	if (!ret)
		return;
	for (; *list; list++)
		if (ret == -*list)
			return;
	broken("undocumented: %s answered %d", call, ret);
}

/* A refused open says why. */
static void check_why(unsigned int sources)
{
	unsigned int tried =
		sources == ~0U ? HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD : sources;

	for (unsigned int bit = 1; bit <= HMMU_SOURCE_SECCOMP; bit <<= 1)
		if ((tried & bit) && quiet(hmmu_source_why(bit)))
			return;
	broken("why: open refused, and hmmu_source_why() is NULL");
}

static bool is_lost(unsigned int sources)
{
	return sources == HMMU_SOURCE_SECCOMP && quiet(hmmu_source_why(sources)) &&
	       !strcmp(hmmu_source_why(sources), "the listener was lost");
}

int life_open(struct life *life)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = life->sources};
	const struct hmmu_mm_options *options = life->sources == ~0U ? NULL : &o;
	int ret = quiet(hmmu_mm_open(&life->mm, options));

	DOCUMENTED("open", ret, EOPNOTSUPP, ENOMEM, EMFILE);
	if (ret == -EOPNOTSUPP && life->filtered)
		return ret;
	if (ret && !fault_failed())
		broken("open answered %d, and nothing had failed: %s", ret,
		       hmmu_source_why(life->sources) ?: "");
	/* The filter stays, and nobody of this process hears it any more. */
	if (ret == -EOPNOTSUPP && life->again && is_lost(life->sources))
		return ret;
	if (ret && life->again && fault->plan.n)
		broken("second: open answers %d still, and nothing fails any more", ret);
	if (ret == -EOPNOTSUPP)
		check_why(life->sources);
	return ret;
}

/* Many, and one in another part of the address space: pools and the summary grow. */
static void crowd(struct life *life)
{
	static struct region sub[CROWD + 1];
	unsigned char *at = fresh(CROWD * PAGE);

	stage("many subscriptions");
	for (int i = 0; i <= CROWD; i++) {
		sub[i].at = i < CROWD ? at + i * PAGE : FAR_AWAY;
		region_insert(&sub[i], life->mm);
	}
	for (int i = 0; i <= CROWD; i++)
		region_remove(&sub[i]);
	hmmu_syscall6(SYS_munmap, (long)at, CROWD * PAGE, 0, 0, 0, 0);
}

/* What the program closes is closed: nobody of ours keeps a copy. A thread that could not be
 * used closes its own as it ends, in the kernel: after pthread_join() has returned. */
static void program_closes(int end[2])
{
	struct pollfd p = {.fd = end[0]};

	close(end[1]);
	if (poll(&p, 1, 10000) != 1 || !(p.revents & POLLHUP))
		broken("descriptors: what the program closes stays open");
	close(end[0]);
}

void life_run(struct life *life)
{
	int end[2], ret;

	stage("open");
	if (pipe2(end, O_CLOEXEC))
		broken("the test has no pipe");
	ret = life_open(life);
	program_closes(end);
	if (ret)
		return;
	if (life->again)
		fault->now.cells = coverage_sum(life->mm);
	stage("insert");
	for (int i = 0; i < REGIONS; i++)
		region_insert(&life->region[i], life->mm);
	changes(life);
	meetings(life);
	whole_mm(life);
	if (!life->again) {
		crowd(life);
		children(life);
	}
	stage("remove");
	for (int i = 0; i < REGIONS; i++)
		region_remove(&life->region[i]);
	stage("close");
	ret = quiet(hmmu_mm_close(life->mm));
	if (ret)
		broken("undocumented: close answered %d", ret);
	stage("closed");
}
