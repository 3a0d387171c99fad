// SPDX-License-Identifier: MIT
/* facts.c - what docs/verbs.md and hmmu/verbs.h say about libibverbs and the kernel. */
#include "stale.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/utsname.h>

/* Before Linux 6.2 ibv_reg_mr() pins for reading what the process itself may not read. */
static void protection(struct side *safe)
{
	void *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_mr *mr = ibv_reg_mr(safe->pair->pd, page, PAGE, 0);
	struct hmmu_region_ref ref;
	int ret = hmmu_verbs_get(safe->v, page, PAGE, PROT_READ, &ref);

	judge(ret == -EFAULT, "%-33s %-22s %s", "PROT_NONE, for reading",
	      mr ? "registered" : "refused", ret == -EFAULT ? "-EFAULT" : "?");
	need(!mr || !ibv_dereg_mr(mr), "ibv_dereg_mr");
	need(!munmap(page, PAGE), "munmap");
}

/* The reclaimer deregisters what is dead, in its own time. */
static void wait_live(struct hmmu_verbs *v, uint64_t live)
{
	struct hmmu_verbs_stats stats;

	do {
		hmmu_verbs_stat(v, &stats);
		sched_yield();
	} while (stats.registered - stats.deregistered != live);
}

/* A peer that goes on after the put: while the region is there it reads the old page, after
 * the deregistration it is refused, which ends the connection. */
static void late_peer(void)
{
	uint64_t *from = fresh(NULL, 1), *to = fresh(NULL, 0);
	struct keys source, target;
	struct pair pair;
	struct side s;
	int held, gone;

	need(!pair_open(&pair), "a second pair");
	side_open(&s, &pair, true);
	side_get(&s, to, &target);
	side_get(&s, from, &source);
	fresh(from, 2);
	held = pair_transfer(&pair, IBV_WR_RDMA_READ, to, target.lkey, from, source.rkey, PAGE);
	judge(!held && word_of(to) == 1, "%-56s %s", "rkey of a dead region, reference held",
	      held ? "refused" : "old bytes");
	need(!side_put(&s, &source), "valid() is false");
	wait_live(s.v, 1);
	gone = pair_transfer(&pair, IBV_WR_RDMA_READ, to, target.lkey, from, source.rkey, PAGE);
	judge(gone == IBV_WC_REM_ACCESS_ERR, "%-56s %s", "the same after the put",
	      gone < 0 ? "not posted" : ibv_wc_status_str((enum ibv_wc_status)gone));
	need(side_put(&s, &target), "nobody remapped it");
	side_close(&s);
	need(!pair_close(&pair), "pair_close");
}

/* A window that is bound: the region cannot be deregistered, and is not forgotten. */
static void window(struct pair *pair)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;
	struct ibv_mw *mw = ibv_alloc_mw(pair->pd, IBV_MW_TYPE_1);
	uint64_t *page = fresh(NULL, 1);
	struct hmmu_verbs_stats stats;
	struct hmmu_region_ref ref;
	struct hmmu_verbs *v = NULL;
	struct ibv_wc wc;
	int busy;

	o.access = ACCESS | IBV_ACCESS_MW_BIND;
	need(mw && !hmmu_verbs_open(&v, pair->pd, &o), "a window");
	need(!hmmu_verbs_get(v, page, PAGE, RW, &ref), "hmmu_verbs_get");
	struct ibv_mw_bind bind = {
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = {hmmu_verbs_mr(&ref), (uintptr_t)page, PAGE,
			      IBV_ACCESS_REMOTE_READ},
	};
	need(!ibv_bind_mw(pair->qp[0], mw, &bind), "ibv_bind_mw");
	while (!ibv_poll_cq(pair->cq, 1, &wc))
		;
	need(wc.status == IBV_WC_SUCCESS, "the bind");
	hmmu_verbs_put(v, &ref);
	busy = hmmu_verbs_close(v);
	hmmu_verbs_stat(v, &stats);
	need(!ibv_dealloc_mw(mw), "ibv_dealloc_mw");
	judge(busy == -EBUSY && stats.refused == 1 && !hmmu_verbs_close(v), "%-56s %s",
	      "a window is bound: close", busy == -EBUSY ? "-EBUSY, then 0" : "?");
}

void facts(struct pair *pair, struct side *safe)
{
	protection(safe);
	late_peer();
	window(pair);
}
