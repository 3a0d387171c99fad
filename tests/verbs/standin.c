// SPDX-License-Identifier: MIT
/* standin.c - see standin.h. */
#include "standin.h"

#include <sys/uio.h>

/* The header's macro chooses between the two: both are here. */
#undef ibv_reg_mr

struct card card = {.lock = PTHREAD_MUTEX_INITIALIZER};
struct ibv_pd card_pd = {.handle = 7};

void card_reset(void)
{
	struct fake_mr *mr, *next;

	must(card.live == 0 && card.live_bytes == 0);
	for (mr = card.all; mr; mr = next) {
		next = mr->next;
		free(mr);
	}
	memset(&card, 0, sizeof(card));
	pthread_mutex_init(&card.lock, NULL);
}

long card_live(void)
{
	long live;

	pthread_mutex_lock(&card.lock);
	live = card.live;
	pthread_mutex_unlock(&card.lock);
	return live;
}

static bool fails_now(void)
{
	bool fails;

	pthread_mutex_lock(&card.lock);
	card.calls++;
	fails = card.fail_at && --card.fail_at == 0;
	pthread_mutex_unlock(&card.lock);
	return fails;
}

/* By the kernel, for which an address with nothing at it is an answer. */
static bool look(struct fake_mr *fake)
{
	char *addr = fake->mr.addr;

	for (size_t i = 0; !card.blind && i < fake->mr.length / PAGE; i++) {
		struct iovec to = {&fake->words[i], sizeof(uint64_t)};
		struct iovec from = {addr + i * PAGE, sizeof(uint64_t)};

		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != sizeof(uint64_t))
			return false;
	}
	return true;
}

static void keep(struct fake_mr *fake)
{
	static uint32_t keys = 0x100;

	pthread_mutex_lock(&card.lock);
	fake->mr.lkey = ++keys;
	fake->mr.rkey = keys | 0x80000000u;
	fake->live = true;
	fake->next = card.all;
	card.all = fake;
	card.regs++;
	card.live++;
	card.live_bytes += fake->mr.length;
	pthread_mutex_unlock(&card.lock);
}

static struct ibv_mr *refuse(struct fake_mr *fake, int error)
{
	if (fake)
		free(fake->words);
	free(fake);
	if (error) /* 0: who fails may have forgotten it */
		errno = error;
	return NULL;
}

/* As the kernel: ib_check_mr_access(). */
static bool legal(unsigned int access)
{
	return !(access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) ||
	       (access & IBV_ACCESS_LOCAL_WRITE);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
				unsigned int access)
{
	struct fake_mr *fake = calloc(1, sizeof(*fake));

	must(fake && pd == &card_pd && iova == (uintptr_t)addr);
	must(length && !(length % PAGE) && !(iova % PAGE));
	fake->mr = (struct ibv_mr){.pd = pd, .addr = addr, .length = length};
	fake->access = access;
	fake->words = calloc(length / PAGE, sizeof(uint64_t));
	must(fake->words);
	if (fails_now())
		return refuse(fake, card.fail_errno);
	if (!legal(access))
		return refuse(fake, EINVAL);
	if (card.before)
		card.before(card.arg);
	if (!look(fake))
		return refuse(fake, EFAULT);
	if (card.after)
		card.after(card.arg);
	keep(fake);
	errno = ENOTTY; /* who succeeds may leave anything there */
	return &fake->mr;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
	return ibv_reg_mr_iova2(pd, addr, length, (uintptr_t)addr, (unsigned int)access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	struct fake_mr *fake = (struct fake_mr *)mr;
	int ret = 0;

	pthread_mutex_lock(&card.lock);
	must(fake->live && atomic_load(&fake->in_use) == 0);
	if (card.refuse && (!card.refuse_only || card.refuse_only == mr->lkey)) {
		card.refusals++;
		ret = card.refuse;
	} else {
		fake->live = false;
		free(fake->words);
		fake->words = NULL;
		card.deregs++;
		card.live--;
		card.live_bytes -= mr->length;
	}
	pthread_mutex_unlock(&card.lock);
	errno = ret == -1 ? EBUSY : ENOTTY;
	return ret;
}

uint64_t card_reads(const struct hmmu_region_ref *ref, const void *addr)
{
	struct fake_mr *fake = fake_of(ref);
	size_t at = (size_t)((const char *)addr - (char *)fake->mr.addr);

	must(fake->live && at < fake->mr.length);
	return fake->words[at / PAGE];
}
