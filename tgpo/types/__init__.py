"""The data that flows between the parts, and the letters that name the axes of every tensor.

    Problem -> Rollout -> ScoredBatch -> Credit -> StudentScores -> TokenLoss -> scalar, metrics

Axes: B sequences, P prompt positions, T response positions, V vocabulary, K top-k entries, H hidden width, N tokens
selected from a [B,T] grid. Every log-probability is a natural logarithm (nats) of a float32 (or wider) log-softmax at
temperature 1, whatever the sampling temperature was.
"""
