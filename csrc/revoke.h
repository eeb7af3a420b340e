/* Wakes that must reach somebody who can run. See revoke.c. */
#ifndef LOTS_REVOKE_H
#define LOTS_REVOKE_H

#include "mailbox.h"

/* A task of this loop has just run after its wake had been revoked: the loop can run again. */
void mailbox_revive(lots_mailbox *mailbox);

/* Revoke the wakes that have not been taken up since `before`. Returns whether any task, anywhere, has a wake that it has
 * not taken up; `exactly`: look under every bucket's lock. */
int revoke_late(int64_t before, int exactly);
int64_t revoke_after_ns(void);

#endif
