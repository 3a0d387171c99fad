/* SPDX-License-Identifier: MIT */
/*
 * pair.h - two reliable queue pairs of this process, connected to each other: what one does
 * to the other's memory is done by the kernel's rdma_rxe, as a network card would.
 */
#ifndef HMMU_ORACLE_VERBS_PAIR_H
#define HMMU_ORACLE_VERBS_PAIR_H

#include <infiniband/verbs.h>

struct pair {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp[2];
};

/* 0, or -errno; -ENODEV: there is no RDMA device. */
int pair_open(struct pair *p);
/* 0, or -errno of the first thing that did not go away. */
int pair_close(struct pair *p);

/* The first of the pair does it, and waits: an enum ibv_wc_status, or -errno. */
int pair_transfer(struct pair *p, enum ibv_wr_opcode opcode, void *local, uint32_t lkey,
		  void *remote, uint32_t rkey, uint32_t bytes);

#endif /* HMMU_ORACLE_VERBS_PAIR_H */
